"""The report's further sections: methods compared, what changed, signatures, probes, scores."""

from dataclasses import dataclass
from typing import Any

from xlharm.analysis.ranking import Ranked, ranking
from xlharm.analysis.results import GridResults
from xlharm.analysis.view import View
from xlharm.analysis.views import VIEWS

_MOST_ROWS = 400


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table of the report; ``cut`` rows are left out (they are in `xlharm results --view`)."""

    anchor: str
    title: str
    lead: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    cut: int


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One method in the plot, in its coordinates: utility to the right, OF upwards."""

    label: str
    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float
    kept: bool
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """OF against utility for one unlearning set; the axes begin where the methods do."""

    unlearn: str
    marks: tuple[Mark, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    limit: float


WIDTH, HEIGHT, LEFT, BOTTOM = 620.0, 340.0, 44.0, 34.0


def sections(results: GridResults) -> tuple[Section, ...]:
    """Return the sections that have something to show."""
    shown = [_section(view, results) for view in VIEWS.values() if view.title]
    one_method = len(results.plan.grid.methods) < 2
    return tuple(s for s in shown if s.rows and not (s.anchor == "methods" and one_method))


def plots(results: GridResults) -> tuple[Plot, ...]:
    """Return a plot for each unlearning set with at least two methods."""
    by_set: dict[str, list[Ranked]] = {}
    for ranked in ranking(results):
        by_set.setdefault(ranked.unlearn, []).append(ranked)
    return tuple(_plot(name, ranked_methods) for name, ranked_methods in by_set.items() if len(ranked_methods) > 1)


def _plot(unlearn: str, methods: list[Ranked]) -> Plot:
    low = min(80.0, *(10 * (r.utility.low // 10) for r in methods))
    high = max(105.0, *(r.utility.high for r in methods))
    top = max(20.0, *(r.of.high for r in methods), *(r.before for r in methods))

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - 12), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - 14), 1)

    places = _labels([(r.method, x(r.utility.estimate), y(r.of.estimate)) for r in methods])
    marks = tuple(
        Mark(
            label=r.method, x=x(r.utility.estimate), y=y(r.of.estimate), left=x(r.utility.low),
            right=x(r.utility.high), top=y(r.of.high), bottom=y(r.of.low), kept=r.kept,
            label_x=place[0], label_y=place[1], anchor=place[2],
        )
        for r, place in zip(methods, places, strict=True)
    )  # fmt: skip
    steps = list(range(int(low), int(high) + 1, 10))
    heights = list(range(0, int(top) + 1, 10 if top <= 60 else 20))
    return Plot(
        unlearn=unlearn,
        marks=marks,
        x_ticks=tuple((x(v), f"{v}") for v in steps),
        y_ticks=tuple((y(v), f"{v}") for v in heights),
        limit=x(90),
    )


def _labels(points: list[tuple[str, float, float]]) -> list[tuple[float, float, str]]:
    """Put each name beside its point where it covers no other name or point; (x, y, text-anchor)."""
    taken = [(px - 5, py - 5, px + 5, py + 5) for _, px, py in points]
    places = []
    for name, px, py in points:
        width = 6.2 * len(name)
        choices = [(dx, dy) for step in range(7) for dy in (4 - 12 * step, 4 + 12 * step) for dx in (8, -8)]
        boxes = [(px + dx if dx > 0 else px + dx - width, py + dy - 9) for dx, dy in choices]
        free = [
            i
            for i, (bx, by) in enumerate(boxes)
            if bx + width < WIDTH + 20
            and by + 11 < HEIGHT - BOTTOM + 8
            and not any(bx < r and bx + width > le and by < b and by + 11 > t for le, t, r, b in taken)
        ]
        best = free[0] if free else 0
        (dx, dy), (bx, by) = choices[best], boxes[best]
        taken.append((bx, by, bx + width, by + 11))
        places.append((round(px + dx, 1), round(py + dy, 1), "start" if dx > 0 else "end"))
    return places


def _section(view: View, results: GridResults) -> Section:
    table = view.table(results)
    kept = [c for c in table.column_names if table[c].null_count < table.num_rows]
    if "cell" in kept:
        kept = [c for c in kept if c not in ("contaminate", "unlearn", "method", "seed")]
    rows = table.slice(0, _MOST_ROWS).select(kept).to_pylist()  # a table without columns would get rows by slicing
    return Section(
        anchor=view.name,
        title=view.title,
        lead=view.sentence,
        columns=tuple(c.replace("_", " ") for c in kept),
        rows=tuple(tuple(_shown(row[c], c) for c in kept) for row in rows),
        cut=max(0, table.num_rows - _MOST_ROWS),
    )


def _shown(value: Any, column: str) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float() if column in {"p", "p_holm", "forget_quality"}:
            return f"{value:.3g}"
        case float() if column.startswith(("p_", "truth", "exact", "extraction", "min_k", "spread", "asymmetry")):
            return f"{value:.3f}"
        case float():
            return f"{value:.1f}"
        case _:
            return str(value)
