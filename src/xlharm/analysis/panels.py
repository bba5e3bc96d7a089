"""A grid as panels: one for each unlearning set, contamination languages down, query languages across."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from xlharm.analysis.charts import Heatmap, Square
from xlharm.analysis.reading import Reading, Readings
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.seeds import shown
from xlharm.analysis.wording import Language
from xlharm.config.grid import NONE, SOURCE, ordered
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell

_Cells = dict[tuple[str, str, str, int | None], Cell]
State = Literal["done", "missing", "absent"]
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One square of a panel.

    Attributes:
        state: ``done``; ``missing`` (in the plan, without a result yet); ``absent`` (not in the grid).
        own: asked in the language that carried the fake articles.
        unlearned: asked in a language that the model was made to unlearn.
        warnings: why its OF must not be taken for success.
        rise: ``clear``, ``maybe`` or nothing: whether OF rose against before.
        why: which failed stage keeps it from a result, if one does.
    """

    query: str
    state: State
    own: bool = False
    unlearned: bool = False
    reading: Reading | None = None
    before: Reading | None = None
    warnings: tuple[str, ...] = ()
    rise: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class PanelRow:
    """One contamination language of a panel; ``cell`` is None when the grid has no such cell."""

    contaminate: str
    cell: Cell | None
    spots: tuple[Spot, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One unlearning set of the grid: ``unlearn`` is its name in the grid, ``languages`` as written there."""

    unlearn: str
    languages: tuple[str, ...]
    method: str
    seed: int | None
    rows: tuple[PanelRow, ...]

    @property
    def before(self) -> bool:
        """Whether this is the panel of the models that have unlearned nothing."""
        return not self.languages

    @property
    def title(self) -> str:
        """What the panel shows, in words."""
        return "Before unlearning" if self.before else f"After unlearning {self.words}"

    @property
    def words(self) -> str:
        """The set in words; a long one in codes."""
        short = len(self.languages) <= _NAMED
        named = (Language(x).name if short else x for x in self.languages)
        return " + ".join("the contaminating language" if x == SOURCE else x for x in named)

    def readings(self) -> Iterator[Reading]:
        """Yield the readings that are there."""
        yield from (spot.reading for row in self.rows for spot in row.spots if spot.reading)


@dataclass(frozen=True, kw_only=True)
class PanelGroup:
    """The panels of one method, those before unlearning first; ``seed`` is None for all seeds together."""

    method: str
    seed: int | None
    panels: tuple[Panel, ...]


@once
def groups(results: GridResults) -> tuple[PanelGroup, ...]:
    """Return a grid as panels, of several seeds those of all together; see ``seeds.shown``."""
    seeds = None if len(results.plan.grid.seeds) > 1 else results.plan.grid.seeds[0]
    return groups_of(results.plan, shown(results), why_missing=results.why_missing, seeds=(seeds,))


def groups_of(
    plan: Plan,
    readings: Readings,
    *,
    why_missing: Callable[[Cell, str], str] = lambda _cell, _query: "",
    seeds: Sequence[int | None] | None = None,
) -> tuple[PanelGroup, ...]:
    """Arrange a plan's cells as panels, grouped by seed and method; panels without any cell are left out.

    Of several seeds, the groups of all seeds together come first.

    Args:
        plan: the grid.
        readings: what is known of it.
        why_missing: says why a cell has no result in a query language.
        seeds: which groups to return, None for all seeds together; default: all.
    """
    seeds = seeds or [*([None] if len(plan.grid.seeds) > 1 else []), *plan.grid.seeds]
    cells: _Cells = {}
    for cell in plan.cells:
        for seed in (cell.seed, None):  # all seeds together lead to the first one's cell
            cells.setdefault((cell.contaminate, cell.unlearn, cell.method, seed), cell)
    groups = []
    for seed in seeds:
        for method in plan.grid.methods or (NONE,):
            panels = [_panel(plan, readings, cells, why_missing, name=n, method=method, seed=seed) for n in _sets(plan)]
            kept = tuple(p for p in panels if any(row.cell for row in p.rows))
            if kept:
                groups.append(PanelGroup(method=method, seed=seed, panels=kept))
    return tuple(groups)


def heatmap(panel: Panel, measure: Literal["of", "qr"], *, name: str) -> Heatmap:
    """Return a panel as a figure."""
    rows = []
    for row in (r for r in panel.rows if r.cell):
        label = "clean control" if row.contaminate == NONE else Language(row.contaminate).name
        rows.append((label, tuple(_square(spot, measure) for spot in row.spots)))
    columns = tuple(spot.query for row in panel.rows[:1] for spot in row.spots)
    words = "OF, fake detail told, %" if measure == "of" else "QR, real detail right, %"
    title = panel.title if panel.before else f"{panel.title} with {panel.method}"
    return Heatmap(name=name, title=f"{title}: {words}", measure=measure, columns=columns, rows=tuple(rows))


def _square(spot: Spot, measure: Literal["of", "qr"]) -> Square:
    rate = (spot.reading.of if measure == "of" else spot.reading.qr) if spot.reading else None
    if rate is None:
        return Square(value=None, framed=spot.own)
    rise = {"clear": "▲", "maybe": "△"}.get(spot.rise, "") if measure == "of" else ""
    return Square(value=rate.value, low=rate.low, high=rate.high, mark="†" if spot.warnings else rise, framed=spot.own)


def _sets(plan: Plan) -> list[str]:
    """Name the unlearning sets, the empty one first; a second empty one would be the same cells again."""
    sets = plan.grid.unlearn
    return [*[n for n in sets if not sets[n]][:1], *(n for n in sets if sets[n])]


def _panel(
    plan: Plan,
    readings: Readings,
    cells: _Cells,
    why_missing: Callable[[Cell, str], str],
    *,
    name: str,
    method: str,
    seed: int | None,
) -> Panel:
    languages = plan.grid.unlearn[name]
    method = method if languages else NONE
    rows = []
    for contaminate in plan.grid.contaminate:
        unlearn = resolved(languages, contaminate=contaminate)
        cell = cells.get((contaminate, unlearn, method, seed)) if unlearn else None
        spots = (_spot(readings, cell, query=q, seed=seed) for q in plan.grid.languages)
        named = (replace(s, why=why_missing(cell, s.query)) if cell and s.state == "missing" else s for s in spots)
        rows.append(PanelRow(contaminate=contaminate, cell=cell, spots=tuple(named)))
    return Panel(unlearn=name, languages=languages, method=method, seed=seed, rows=tuple(rows))


def resolved(languages: tuple[str, ...], *, contaminate: str) -> str | None:
    """Return how a cell of this set is named (`en+ur`); None where `source` has no language to stand for."""
    if SOURCE in languages and contaminate == NONE:
        return None
    named = dict.fromkeys(contaminate if x == SOURCE else x for x in languages)
    return "+".join(ordered(named)) or NONE


def _spot(readings: Readings, cell: Cell | None, *, query: str, seed: int | None) -> Spot:
    if cell is None:
        return Spot(query=query, state="absent")
    own = query == cell.contaminate
    unlearned = query in cell.unlearn.split("+")
    reading = readings.get(cell.contaminate, cell.unlearn, cell.method, seed, query)
    if reading is None:
        return Spot(query=query, state="missing", own=own, unlearned=unlearned)
    return Spot(
        query=query,
        state="done",
        own=own,
        unlearned=unlearned,
        reading=reading,
        before=readings.before(reading),
        warnings=readings.warnings(reading),
        rise=readings.rise(reading),
    )
