"""The report's sections on views: a table each, with its figures and a sentence."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from xlharm.analysis.charts import Chart, Heatmap
from xlharm.analysis.results import GridResults
from xlharm.analysis.view import View
from xlharm.analysis.views import VIEWS
from xlharm.report.drawing import Drawing, drawing

FIRST = 40
"""Rows that stand in the page itself; the script shows the others from the page's data."""
FIGURES = 12
"""Figures of a section that are drawn on the page; `--paper` writes all."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One view of the report: its table, of which the first rows are in the page as text, and its figures."""

    anchor: str
    title: str
    lead: str
    columns: tuple[str, ...]
    table: pa.Table
    first: tuple[tuple[str, ...], ...]
    drawings: tuple[Drawing, ...]
    undrawn: int


def sections(results: GridResults) -> tuple[Section, ...]:
    """Return the sections that have something to show."""
    one_method = len(results.plan.grid.methods) < 2
    views = [v for v in VIEWS.values() if v.title and not (v.name == "methods" and one_method)]
    return tuple(section for view in views if (section := _section(view, results)))


def charts(results: GridResults) -> tuple[Chart, ...]:
    """Return the figures of all views."""
    return tuple(chart for view in VIEWS.values() for chart in view.charts(results))


def kept_columns(table: pa.Table) -> list[str]:
    """Return the columns that say something: some value is there, and `cell` does not say it already."""
    kept = [c for c in table.column_names if table[c].null_count < table.num_rows and c != "grid"]
    return [c for c in kept if c not in ("contaminate", "unlearn", "method", "seed")] if "cell" in kept else kept


def _section(view: View, results: GridResults) -> Section | None:
    table = view.table(results)
    if not table.num_rows:
        return None
    kept = kept_columns(table)
    rows = table.slice(0, FIRST).select(kept).to_pylist()
    figures = [chart for chart in view.charts(results) if not isinstance(chart, Heatmap)]
    return Section(
        anchor=view.name,
        title=view.title,
        lead=view.sentence,
        columns=tuple(kept),
        table=table,
        first=tuple(tuple(shown_value(row[c], c) for c in kept) for row in rows),
        drawings=tuple(drawing(chart) for chart in figures[:FIGURES]),
        undrawn=max(0, len(figures) - FIGURES),
    )


def shown_value(value: Any, column: str) -> str:
    """Write a value of a view as its table shows it."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float() if 0 < abs(value) < 1 or column.startswith(
            ("p", "truth", "exact", "extraction", "min_k", "spread", "asymmetry", "forget")
        ):  # a correlation or a similarity of one decimal would say nothing
            return f"{value:.3g}"
        case float():
            return f"{value:.1f}"
        case _:
            return str(value)
