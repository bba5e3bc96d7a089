"""Results at the terminal: for each seed and method a matrix, OF with its interval and QR under it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlharm.analysis.caveats import caveats
from xlharm.analysis.findings import summary
from xlharm.analysis.reading import RISE_POINTS, Rate, Reading, Readings, whole
from xlharm.analysis.results import GridResults
from xlharm.analysis.seeds import shown
from xlharm.config.grid import NONE
from xlharm.report.console import Terminal

_PLAIN_WIDTH = 100
_LABELS = ("contaminate", "unlearn")
_MARGIN = 7  # the measure's name, the box
_COLUMN = 8  # `>99–100`, padding


def print_results(results: GridResults, console: Console, *, each_seed: bool = False) -> None:
    """Print the results as matrices, contaminate × unlearn down and query languages across.

    Before them stands what must be known first. Several seeds are shown together, or each alone. Languages that do
    not fit the width go into a further matrix, so that no number is cut off. Without a terminal the output is plain
    text, 100 columns wide.
    """
    for line in caveats(results):
        console.print(f"! {line}", markup=False, highlight=False, soft_wrap=True)
    if not results.table.num_rows:
        console.print("No cell has been evaluated yet.")
        return
    if not console.is_terminal:  # a pipe has no width: what is cut off there is lost
        console = Terminal(file=console.file, width=_PLAIN_WIDTH)
    readings = shown(results)
    for method, seed in _groups(readings, each_seed=each_seed):
        rows = [r for r in readings.by_place.values() if r.seed == seed and r.method in (method, NONE)]
        title = _title(method, seed, seeds=readings.seeds)
        for languages in _chunks(rows, width=console.width):
            console.print(_matrix(rows, readings, languages=languages, title=title))
    console.print(_legend(readings), highlight=False)
    for line in summary(results):
        console.print(line, highlight=False)


def print_view(table: pa.Table, console: Console, *, name: str) -> None:
    """Print a view as it is: a line a row; columns without any value are left out."""
    if not table.num_rows:
        console.print(f"No {name} to show: none in what is evaluated so far, or nothing of the sort is in the grid.")
        return
    kept = [c for c in table.column_names if table[c].null_count < table.num_rows and c != "grid"]
    if "cell" in kept:  # it says what these say
        kept = [c for c in kept if c not in ("contaminate", "unlearn", "method", "seed")]
    lines = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in kept:
        lines.add_column(column, justify="left" if pa.types.is_string(table.schema.field(column).type) else "right")
    for row in table.select(kept).to_pylist():
        lines.add_row(*(Text(_shown(row[column], column)) for column in kept))
    width = max(_PLAIN_WIDTH, lines.__rich_measure__(console, console.options.update(max_width=400)).maximum)
    if not console.is_terminal:  # a pipe has no width: what is cut off there is lost
        console = Terminal(file=console.file, width=width)
    console.print(lines)


def _shown(value: Any, column: str) -> str:
    if value is None:
        return "·"
    if isinstance(value, float):
        return f"{value:.3g}" if (abs(value) < 1 and value) or column in {"p", "p_holm"} else f"{value:.1f}"
    return str(value)


def _groups(readings: Readings, *, each_seed: bool) -> list[tuple[str, int | None]]:
    """Return (method, seed) in the table's order; cells that unlearned nothing stand with every method."""
    every = dict.fromkeys((r.method, r.seed) for r in readings.by_place.values())
    together = any(seed is None for _, seed in every) and not each_seed
    seeds = dict.fromkeys(seed for _, seed in every if (seed is None) == together)
    groups = []
    for seed in seeds:
        methods = [m for m, s in every if s == seed and m != NONE] or [NONE]
        groups += [(method, seed) for method in methods]
    return groups


def _chunks(readings: list[Reading], *, width: int) -> Iterator[list[str]]:
    languages = list(dict.fromkeys(r.query for r in readings))
    labels = [max(len(getattr(r, name)) for r in readings) for name in _LABELS]
    taken = (
        sum(max(len(name), width_of_label) + 1 for name, width_of_label in zip(_LABELS, labels, strict=True)) + _MARGIN
    )
    most = max(1, (width - taken) // _COLUMN)
    for start in range(0, len(languages), most):
        yield languages[start : start + most]


def _title(method: str, seed: int | None, *, seeds: Sequence[int]) -> str:
    which = f"{len(seeds)} seeds together" if seed is None else f"seed {seed}"
    return which if method == NONE else f"method {method}, {which}"


def _matrix(readings_shown: list[Reading], readings: Readings, *, languages: list[str], title: str) -> Table:
    matrix = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in (*_LABELS, ""):
        matrix.add_column(name, no_wrap=True)
    for language in languages:
        matrix.add_column(language, justify="right", no_wrap=True)
    rows: dict[tuple[str, str], dict[str, Reading]] = {}
    for reading in readings_shown:
        rows.setdefault((reading.contaminate, reading.unlearn), {})[reading.query] = reading
    last_of = dict(iter(rows))  # a blank line parts contamination languages
    for (contaminate, unlearn), by_language in rows.items():
        ends = last_of[contaminate] == unlearn
        cells = [by_language.get(language) for language in languages]
        matrix.add_row(contaminate, unlearn, "OF", *(_of(r, readings) for r in cells))
        matrix.add_row("", "", Text("95 %", style="dim"), *(_interval(r.of if r else None) for r in cells))
        matrix.add_row("", "", "QR", *(_qr(r, readings) for r in cells), end_section=ends)
    return matrix


def _of(reading: Reading | None, readings: Readings) -> Text:
    if reading is None or reading.of is None:
        return Text("·", style="dim")
    mark = {"clear": "▲", "maybe": "△"}.get(readings.rise(reading), "")
    mark += "†" if readings.warnings(reading) else ""
    return Text(mark + whole(reading.of.value), style="bold")


def _qr(reading: Reading | None, readings: Readings) -> Text:
    if reading is None or reading.qr is None:
        return Text("·", style="dim")
    damaged = bool(readings.warnings(reading))
    return Text(("†" if damaged else "") + whole(reading.qr.value), style="red" if damaged else "")


def _interval(rate: Rate | None) -> Text:
    return Text(f"{whole(rate.low)}–{whole(rate.high)}" if rate else "", style="dim")


def _legend(readings: Readings) -> str:
    rates = [r.of for r in readings.by_place.values() if r.of]
    n = f"{_span([rate.n for rate in rates])} questions on {_span([rate.items for rate in rates])} items a language"
    several = " Intervals cover items and seeds." if len(readings.seeds) > 1 else ""
    return (
        f"OF: answers with the fake detail, of 100, with the 95 % interval over items ({n}).{several} "
        "QR: real details answered rightly, of 100. ▲ OF rose against before unlearning, intervals apart; △ rose by "
        f"{RISE_POINTS:.0f} or more, intervals overlap. † QR fell by more than 20 % or many answers are empty or loop: "
        "a low OF there is no success. · no result."
    )


def _span(counts: list[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low}" if low == high else f"{low}–{high}"
