"""Live progress of a run: bars on a terminal, else one plain line every ten seconds."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from xlharm.cli.planning import clock
from xlharm.engine.progress import Snapshot

_PLAIN_SECONDS = 10.0


class Display:
    """Shows the progress of a run."""

    def __init__(self, console: Console, *, title: str) -> None:
        self._console = console
        self._title = title
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._shown = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Show a snapshot of the run."""
        for note in snapshot.notes:
            self._console.print(note, style="dim", markup=False, soft_wrap=True)
        if self._live:
            self._live.update(self._drawn(snapshot))
        elif time.monotonic() - self._shown >= _PLAIN_SECONDS:
            self._shown = time.monotonic()
            self._console.print(f"{self._title}: {_line(snapshot)}", markup=False, soft_wrap=True)

    def _drawn(self, snapshot: Snapshot) -> Group:
        whole = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, snapshot.total), completed=snapshot.done, width=32)
        whole.add_row(Text(self._title, "bold"), bar, Text(_line(snapshot)))
        packs = Table.grid(padding=(0, 1))
        for pack in snapshot.packs:
            more = f" (+{pack.slots - 1})" if pack.slots > 1 else ""
            bar = ProgressBar(total=max(1, pack.steps), completed=pack.step, width=16)
            packs.add_row("  ", bar, Text(f"{pack.step}/{pack.steps}"), Text(f"{pack.label}{more}", "dim"))
        return Group(whole, packs)


def _line(snapshot: Snapshot) -> str:
    parts = [
        f"{snapshot.done}/{snapshot.total} stages",
        f"{snapshot.running} running",
        f"{snapshot.left} left",
    ]
    if snapshot.dead:
        parts.append(f"{snapshot.dead} failed")
    if not snapshot.workers:
        parts.append("starting workers")
    if snapshot.tokens_per_second:
        parts.append(f"{snapshot.tokens_per_second:,.0f} tokens/s")
    if snapshot.eta is not None:
        parts.append(f"ETA {clock(snapshot.eta)}")
    return ", ".join(parts)
