"""The tables of a grid that a tracker gets: results, every view, and what the dashboards' charts are drawn from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any

import pyarrow as pa

from xlharm.analysis.panels import Panel, groups
from xlharm.analysis.reading import Rate, Readings
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import VIEWS, view
from xlharm.plan.build import Plan
from xlharm.plan.stage import TRAINED, Kind

CURVES = ("loss", "retain_loss", "forget_nll", "retain_nll")
"""Losses of a training stage in its record: of the objective, of the retain term, and NLL per token (nats) of forget
and retain rows, which can be compared between objectives."""
BEFORE: tuple[Kind, ...] = ("contaminate", "sft", "finetune")
"""Kinds whose curves differ by contamination language rather than by method."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table: column names and rows of plain values."""

    columns: list[str]
    rows: list[list[Any]]


def tables_of(results: GridResults) -> dict[str, Sheet]:
    """Return all tables of a grid by name; each begins with the grid's name, so that those of several can be joined.

    ``results`` and the views are those of `xlharm results`; ``of`` and ``qr`` are cells x query languages, ``heatmap``
    and ``curves`` what the dashboards draw. Views without a row are left out.
    """
    views = {name: _sheet(results, view(name, results)) for name in VIEWS}
    return {
        "results": _sheet(results, results.table),
        **{name: sheet for name, sheet in views.items() if sheet.rows or name == "findings"},
        **{measure: _matrix(results.plan, results.readings, measure=measure) for measure in ("of", "qr")},
        "heatmap": _heatmap(results),
        "curves": _curves(results),
    }


def sets_of(results: GridResults) -> tuple[str, ...]:
    """Name the unlearning sets that the heatmaps show, the empty one first."""
    return tuple(dict.fromkeys(panel.unlearn for panel in _panels(results)))


def kinds_of(plan: Plan) -> tuple[Kind, ...]:
    """Return the kinds of stages whose curves a grid has, in the order of training."""
    return tuple(kind for kind in TRAINED if plan.naive[kind])


def _sheet(results: GridResults, table: pa.Table) -> Sheet:
    names = [name for name in table.column_names if name != "grid"]
    rows = [[results.plan.grid.name, *(row[name] for name in names)] for row in table.to_pylist()]
    return Sheet(columns=["grid", *names], rows=rows)


def _matrix(plan: Plan, readings: Readings, *, measure: str) -> Sheet:
    """Return cells down, query languages across: percentages or None."""
    lines: list[list[Any]] = []
    for c in plan.cells:
        row = [readings.get(c.contaminate, c.unlearn, c.method, c.seed, q) for q in plan.grid.languages]
        rates = [(r.of if measure == "of" else r.qr) if r else None for r in row]
        if any(rates):
            values = (_rounded(rate.value) if rate else None for rate in rates)
            lines.append([plan.grid.name, c.contaminate, c.unlearn, c.method, c.seed, *values])
    return Sheet(columns=["grid", "contaminate", "unlearn", "method", "seed", *plan.grid.languages], rows=lines)


def _panels(results: GridResults) -> Iterator[Panel]:
    """Yield the panels over all seeds; the models before unlearning once, not once for each method."""
    seen = set()
    for group in groups(results):
        for panel in group.panels:
            if (panel.unlearn, panel.method) not in seen:
                seen.add((panel.unlearn, panel.method))
                yield panel


def _heatmap(results: GridResults) -> Sheet:
    """Return a line for each unlearning set as the grid names it, method, contamination and query, over all seeds."""
    columns = ["grid", "measure", "set", "method", "contaminate", "query"]
    columns += [f"{m}{end}" for m in ("of", "qr") for end in ("", "_lo", "_hi", "_n", "_items", "_change")]
    measure = "choice" if results.plan.sources.base.kind == "masked" else "answers"
    rows = []
    for panel in _panels(results):
        for row in panel.rows:
            for spot in row.spots:
                if spot.reading:
                    before = spot.before
                    of = _rate(spot.reading.of, before=before.of if before else None)
                    qr = _rate(spot.reading.qr, before=before.qr if before else None)
                    axes = [results.plan.grid.name, measure, panel.unlearn, panel.method, row.contaminate, spot.query]
                    rows.append([*axes, *of, *qr])
    return Sheet(columns=columns, rows=rows)


def _rate(rate: Rate | None, *, before: Rate | None) -> list[float | None]:
    if rate is None:
        return [None] * 6
    change = _rounded(rate.value - before.value) if before else None
    return [_rounded(rate.value), _rounded(rate.low), _rounded(rate.high), rate.n, rate.items, change]


def _rounded(value: float) -> float:
    return round(value, 2)


def _curves(results: GridResults) -> Sheet:
    """Return mean, smallest and largest loss at each kept step, over all stages of a kind that share a ``group``.

    The group is the contamination language for the stages before unlearning, else the method.
    """
    values: dict[tuple[str, str, str, float], list[float]] = {}
    seen = set()
    for cell in results.plan.cells:
        for key in cell.lineage:
            kind = results.plan.stages[key].kind
            if key in seen or kind not in TRAINED:
                continue
            seen.add(key)
            group = cell.contaminate if kind in BEFORE else cell.method
            for name, points in curves_of(results.metrics(key)):
                for step, value in points:
                    values.setdefault((kind, group, name, step), []).append(value)
    rows = [[results.plan.grid.name, *place, fmean(some), min(some), max(some), len(some)]
            for place, some in values.items()]  # fmt: skip
    return Sheet(columns=["grid", "stage", "group", "curve", "step", "mean", "low", "high", "n"], rows=rows)


def curves_of(metrics: dict[str, Any]) -> Iterable[tuple[str, list[tuple[float, float]]]]:
    """Yield the curves in a training stage's metrics as (step, value); values that are not finite are left out."""
    for name in CURVES:
        points = metrics.get(name)
        if isinstance(points, list):
            yield name, [(step, value) for step, value in points if isfinite(value)]
