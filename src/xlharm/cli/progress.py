"""Live progress of a run: bars on a terminal, else a plain line now and then, when something has changed."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from xlharm.cli.planning import clock
from xlharm.engine.progress import Snapshot

_PLAIN_SECONDS = 10.0  # least time between two plain lines
_SLOW_SECONDS = 60.0  # the same where only steps have changed, once a run has gone on for some minutes
_SLOW_AFTER = 300.0
_NAMED = 3  # packs in a plain line


class Display:
    """Shows the progress of a run."""

    def __init__(self, console: Console, *, title: str) -> None:
        self._console = console
        self._title = title
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._shown = -_SLOW_SECONDS
        self._counts: tuple[object, ...] = ()
        self._text = ""

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
        else:
            self._print(snapshot, now=time.monotonic())

    def _print(self, snapshot: Snapshot, *, now: float) -> None:
        """Print a line if it says something new: soon after a stage has ended, and later after steps alone."""
        text = ", ".join([_counts(snapshot), *_steps(snapshot)])
        counts = (snapshot.done, snapshot.dead, snapshot.workers)
        slow = counts == self._counts and snapshot.elapsed > _SLOW_AFTER
        if text == self._text or now - self._shown < (_SLOW_SECONDS if slow else _PLAIN_SECONDS):
            return
        self._shown, self._text, self._counts = now, text, counts
        self._console.print(f"{self._title}: {', '.join([text, *_speed(snapshot)])}", markup=False, soft_wrap=True)

    def _drawn(self, snapshot: Snapshot) -> Group:
        whole = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, snapshot.total), completed=snapshot.done, width=32)
        whole.add_row(Text(self._title, "bold"), bar, Text(", ".join([_counts(snapshot), *_speed(snapshot)])))
        packs = Table.grid(padding=(0, 1))
        for pack in snapshot.packs:
            more = f" (+{pack.slots - 1})" if pack.slots > 1 else ""
            bar = ProgressBar(total=max(1, pack.steps), completed=pack.step, width=16)
            steps = f"{pack.step}/{pack.steps}" if pack.steps else "begins"
            packs.add_row("  ", bar, Text(steps), Text(f"{pack.label}{more}", "dim"))
        return Group(whole, packs)


def _counts(snapshot: Snapshot) -> str:
    parts = [
        f"{snapshot.done}/{snapshot.total} stages",
        f"{snapshot.running} running",
        f"{snapshot.left} left",
    ]
    if snapshot.dead:
        parts.append(f"{snapshot.dead} failed")
    if not snapshot.workers:
        parts.append("starting workers")
    return ", ".join(parts)


def _steps(snapshot: Snapshot) -> Iterator[str]:
    """Say at which step running packs are; one that has not begun says nothing."""
    begun = [pack for pack in snapshot.packs if pack.steps > 1]
    for pack in begun[:_NAMED]:
        more = f" (+{pack.slots - 1})" if pack.slots > 1 else ""
        yield f"{pack.label}{more}: step {pack.step}/{pack.steps}"
    if len(begun) > _NAMED:
        yield f"{len(begun) - _NAMED} more packs"


def _speed(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.tokens_per_second:
        yield f"{snapshot.tokens_per_second:,.0f} tokens/s"
    if snapshot.eta is not None:
        yield f"ETA {clock(snapshot.eta)}"
