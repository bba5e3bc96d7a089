"""The map of a grid at the terminal, as `xlharm status --watch` shows it."""

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from xlharm.analysis.reading import whole
from xlharm.plan.build import Plan
from xlharm.view.state import Look, Numbers, Square

_SIGNS: dict[Square, tuple[str, str]] = {
    "done": ("■", "green"),
    "running": ("▸", "bold cyan"),
    "failed": ("✕", "bold red"),
    "blocked": ("/", "red"),
    "waiting": ("·", "dim"),
    "damaged": ("!", "bold red"),
}
_LEGEND = "OF (occurrence of the fake) of 100  ▸ running  · waiting  ✕ failed  / behind a failure  ! damaged"
_AROUND = 5  # lines around the map's rows: title, state, languages, legend, cursor
_PACKS = 6
_FAILURES = 4


def span(seconds: float) -> str:
    """Write a duration in seconds, minutes, hours or days."""
    for size, name in ((86_400.0, "days"), (3600.0, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def line(look: Look) -> str:
    """Return the state of a grid in one line."""
    total = {name: sum(one[name] for one in look.counts.values()) for name in ("running", "failed")}
    parts = [f"{look.done} of {look.total} stages done"]
    parts += [f"{count} {name}" for name, count in total.items() if count]
    rate = sum(run.tokens_per_second or 0 for run in look.runs)
    if rate:
        parts.append(f"{rate:,.0f} tokens/s")
    if look.finished:
        parts.append("all done")
    elif look.eta is not None and look.origin == "runs":
        paces = ", ".join(f"{run.pace:.2f} × the estimate" for run in look.runs if run.pace is not None)
        parts.append(f"ends in {span(look.eta)}" + (f" (stages so far took {paces})" if paces else ""))
    elif look.runs:
        parts.append("workers are starting")
    elif look.eta is not None:
        parts.append(f"no run is going on; the rest would take {span(look.eta)} with one worker")
    return ", ".join(parts)


def drawn(plan: Plan, look: Look, *, height: int) -> RenderableType:
    """Return the map, the running packs and the last failures, so that they fit a terminal's height."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(Text(plan.grid.name, "bold"), ProgressBar(total=max(1, look.total), completed=look.done, width=48))
    below = list(_below(look))
    rows = max(3, height - len(below) - _AROUND)
    return Group(bar, Text(line(look)), _map(plan, look, most=rows), Text(_LEGEND, "dim"), *below)


def _below(look: Look) -> Iterator[Text]:
    packs = [pack for run in look.runs for pack in run.packs]
    for pack in packs[:_PACKS]:
        more = f" and {pack.slots - 1} more" if pack.slots > 1 else ""
        steps = f"step {pack.step} of {pack.steps}" if pack.steps else "begins"
        memory = f", {pack.memory / 2**30:.1f} GiB" if pack.memory else ""
        yield Text(f"{pack.worker}: {pack.label}{more}: {steps}{memory}", no_wrap=True, overflow="ellipsis")
    if len(packs) > _PACKS:
        yield Text(f"and {len(packs) - _PACKS} more packs", "dim")
    failures = list(look.failures.values())
    for failure in failures[-_FAILURES:]:
        text = f"failed: {failure.label}: {failure.reason}: {failure.message}"
        yield Text(text, "red", no_wrap=True, overflow="ellipsis")
    if len(failures) > _FAILURES:
        yield Text(f"and {len(failures) - _FAILURES} more failures: xlharm status", "red")


def _map(plan: Plan, look: Look, *, most: int) -> Table:
    languages = plan.grid.languages
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("cell", "model"):
        table.add_column(Text(name, "dim"), no_wrap=True)
    for language in languages:
        table.add_column(Text(language, "dim"), justify="right", no_wrap=True)
    places = _places(look, most=most)
    for place in places:
        cell = plan.cells[place]
        path = Text.assemble(*(_SIGNS[state] for state in look.path[place]))
        squares = zip(look.squares[place], cell.evaluations.values(), strict=True)
        table.add_row(cell.name, path, *(_square(state, look.numbers.get(key)) for state, key in squares))
    if len(places) < len(plan.cells):
        rest = Counter(state for i, row in enumerate(look.squares) if i not in places for state in row)
        words = ", ".join(f"{count} {state}" for state, count in rest.most_common())
        table.add_row(Text(f"{len(plan.cells) - len(places)} more cells: {words}", "dim"))
    return table


def _places(look: Look, *, most: int) -> list[int]:
    """Return the cells to show, in order: where not all fit, first those in which something happens."""
    if len(look.squares) <= most:
        return list(range(len(look.squares)))

    def interest(place: int) -> int:
        states = {*look.squares[place], *look.path[place]}
        order: tuple[Square, ...] = ("running", "failed", "damaged", "done", "waiting")
        return next((i for i, state in enumerate(order) if state in states), len(order))

    return sorted(sorted(range(len(look.squares)), key=interest)[: most - 1])


def _square(state: Square, numbers: Numbers | None) -> Text:
    if state == "done" and numbers is not None and numbers.of is not None:
        return Text(whole(numbers.of), "bold")
    return Text(*_SIGNS[state])
