"""The view `halflife`: how much training brings half of the removed OF back, for each unlearning set.

A curve is OF after amounts of training (the probes `continue` and `relearn`), beginning with the unlearned model at 0,
and straight between amounts. Half is back where it first reaches the middle between OF after and OF before unlearning.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from xlharm.analysis.charts import Chart, Estimate, Forest
from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.items import Hits
from xlharm.analysis.panels import resolved
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.view import View, columns
from xlharm.config.grid import NONE
from xlharm.plan.cells import Cell

_BETWEEN = 20  # steps between two amounts at which limits are looked for
_CLEAR = 0.025  # one-sided p below which OF was removed
ALL = "all"
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """OF by amount of training, with its parts by seed and item.

    Attributes:
        amounts: rising, the first is 0.
        before: shares of hits before unlearning, 0 to 1, [seeds, items].
        after: the same after each amount, [amounts, seeds, items].
        questions: of each item, [items].
    """

    amounts: tuple[float, ...]
    before: _Floats
    after: _Floats
    questions: _Floats

    def rates(self) -> _Floats:
        """Return OF after each amount, 0 to 1, [amounts]."""
        return np.asarray((self.after * self.questions).mean((1, 2)) / self.questions.mean())

    def at(self, amount: float) -> _Floats:
        """Return shares of hits at an amount, between two amounts as a mixture of both, [seeds, items]."""
        i = min(int(np.searchsorted(self.amounts, amount, side="right")) - 1, len(self.amounts) - 2)
        first, last = self.amounts[i], self.amounts[i + 1]
        part = (amount - first) / (last - first)
        return np.asarray((1 - part) * self.after[i] + part * self.after[i + 1])


@dataclass(frozen=True, kw_only=True)
class HalfLife:
    """When half of the removed OF is back.

    Attributes:
        state: `back`; `not back` within what was trained; `not removed`: unlearning did not clearly lower OF.
        value: amount of training; None unless it is back.
        low, high: 95 % limits: the amounts at which it is not refuted that just half is back. None for a limit beyond
            what was trained, and where OF was not removed.
        before, after: OF before and after unlearning, percent.
        last: OF after the largest amount, percent.
    """

    state: str
    value: float | None
    low: float | None
    high: float | None
    before: float
    after: float
    last: float


def half_lives(curves: Sequence[Curve]) -> list[HalfLife]:
    """Return the half-life of each curve, with limits over items and seeds (``analysis.contrasts``)."""
    removed = Contrasts.of([Pair(c.before, c.questions, c.after[0], c.questions) for c in curves])
    clear = removed.p_above(0.0) < _CLEAR
    grids = [_grid(curve.amounts) for curve in curves]
    pairs = [
        Pair(curve.at(amount), curve.questions, (curve.before + curve.after[0]) / 2, curve.questions)
        for curve, grid in zip(curves, grids, strict=True)
        for amount in grid
    ]
    low, high = Contrasts.of(pairs).limits()
    found, start = [], 0
    for i, (curve, grid) in enumerate(zip(curves, grids, strict=True)):
        end = start + len(grid)
        limits = _limits(grid, below=high[start:end] < 0, above=low[start:end] > 0)
        found.append(_half_life(curve, float(removed.first[i]), limits=limits if clear[i] else None))
        start = end
    return found


def _grid(amounts: tuple[float, ...]) -> list[float]:
    steps = [np.linspace(a, b, _BETWEEN, endpoint=False) for a, b in pairwise(amounts)]
    return [*np.concatenate(steps).tolist(), amounts[-1]]


def _limits(
    grid: Sequence[float], *, below: npt.NDArray[np.bool_], above: npt.NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Return the first amount at which less than half is no longer shown, and the first from which more is shown."""
    low = next((x for x, refuted in zip(grid, below, strict=True) if not refuted), None)
    high = next((x for x, shown in zip(grid, above, strict=True) if shown), None)
    return low, high


def _half_life(curve: Curve, before: float, *, limits: tuple[float | None, float | None] | None) -> HalfLife:
    rates = curve.rates()
    value = None if limits is None else _crossing(curve.amounts, rates, (before + float(rates[0])) / 2)
    low, high = limits or (None, None)
    return HalfLife(
        state="not removed" if limits is None else "not back" if value is None else "back",
        value=value, low=low, high=high, before=100 * before, after=100 * float(rates[0]), last=100 * float(rates[-1]),
    )  # fmt: skip


def _crossing(amounts: Sequence[float], rates: _Floats, target: float) -> float | None:
    """Return the first amount at which a curve reaches a target from below; None when it never does."""
    for i in range(1, len(amounts)):
        if rates[i] >= target:
            part = (target - rates[i - 1]) / (rates[i] - rates[i - 1])
            return float(amounts[i - 1] + part * (amounts[i] - amounts[i - 1]))
    return None


# -- curves of a grid ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a curve is from; ``ALL`` stands for all contamination or query languages together."""

    contaminate: str
    unlearn: str
    method: str
    probe: str
    unit: str
    query: str


@once
def curves(results: GridResults) -> dict[Place, Curve]:
    """Return the curves of a grid: of each contamination and query language, and of all of them together."""
    found: dict[Place, Curve] = {}
    for (unlearn, method, probe, unit), cells in _groups(results).items():
        readings = {
            (contaminate, query): _reading(results, [x for x in cells if x[0].contaminate == contaminate], query)
            for contaminate in dict.fromkeys(cell.contaminate for cell, _ in cells)
            for query in dict.fromkeys(q for _, amounts in cells for keys in amounts.values() for q in keys)
        }
        languages = dict.fromkeys(c for c, _ in readings)
        some = {(c, q): [reading] for (c, q), reading in readings.items()}
        for c in languages:
            some[c, ALL] = [reading for (c2, _), reading in readings.items() if c2 == c]
        if len(languages) > 1:
            some[ALL, ALL] = list(readings.values())
        for (c, q), of_place in some.items():
            place = Place(contaminate=c, unlearn=unlearn, method=method, probe=probe, unit=unit, query=q)
            if curve := _together(of_place):
                found[place] = curve
    return found


_Group = tuple[str, str, str, str]
"""Unlearning set, method, probe and unit."""
_Amounts = dict[float, dict[str, str]]
"""Keys of evaluations by amount and query language."""


def _groups(results: GridResults) -> dict[_Group, list[tuple[Cell, _Amounts]]]:
    """Return the contaminated cells of each set, as the grid names it, that go on training, with their amounts."""
    groups: dict[_Group, list[tuple[Cell, _Amounts]]] = {}
    for name, languages in results.plan.grid.unlearn.items():
        for cell in results.plan.cells:
            meant = cell.unlearn == resolved(languages, contaminate=cell.contaminate)
            if NONE in {cell.contaminate, cell.unlearn} or not meant:
                continue
            for (probe, unit), amounts in _amounts(results, cell).items():
                groups.setdefault((name, cell.method, probe, unit), []).append((cell, amounts))
    return groups


def _amounts(results: GridResults, cell: Cell) -> dict[tuple[str, str], _Amounts]:
    found: dict[tuple[str, str], _Amounts] = {}
    for name, evaluations in cell.probes.items():
        asked = [results.plan.stages[key] for key in evaluations.values()]
        model = results.plan.stages[asked[0].inputs[0]] if asked[0].kind == "evaluate" else asked[0]
        group = name.partition(":")[0]
        if model.kind == "continue":
            times = model.spec["training"]["steps"] / results.plan.grid.methods[cell.method].steps
            found.setdefault((group, "times"), {})[times] = evaluations
        elif model.kind == "relearn":
            found.setdefault((group, "items"), {})[float(model.spec["items"])] = evaluations
    return found


_BySeed = dict[int, Hits]


@dataclass(frozen=True, eq=False)
class _Reading:
    """One contamination and query language: hits before unlearning, and after each amount."""

    before: _BySeed
    after: dict[float, _BySeed]

    def of_seeds(self) -> Iterator[_BySeed]:
        """Yield all hits that it has."""
        yield self.before
        yield from self.after.values()


def _reading(results: GridResults, cells: Sequence[tuple[Cell, _Amounts]], query: str) -> _Reading:
    """Read what there is of a curve."""
    before: _BySeed = {}
    after: dict[float, _BySeed] = {}
    for cell, amounts in cells:
        earlier = results.before(cell)
        was = results.rates_of(earlier, query) if earlier else None
        if was and was.of:
            before[cell.seed] = was.of
        for amount, keys in {0.0: cell.evaluations, **amounts}.items():
            rates = results.rates(keys[query]) if query in keys else None
            if rates and rates.of:
                after.setdefault(amount, {})[cell.seed] = rates.of
    return _Reading(before, after)


def _together(readings: Sequence[_Reading]) -> Curve | None:
    """Add readings up on the amounts, seeds and items that all of them have; None when they make no curve."""
    amounts = tuple(sorted(set.intersection(*(set(r.after) for r in readings))))
    kept = [_Reading(r.before, {a: r.after[a] for a in amounts}) for r in readings]
    seeds = sorted(set.intersection(*(set(of_seeds) for r in kept for of_seeds in r.of_seeds())))
    if len(amounts) < 2 or amounts[0] or not seeds:
        return None
    asked = [of_seeds[seed].items for r in kept for of_seeds in r.of_seeds() for seed in seeds]
    names = tuple(name for name in asked[0] if name in set(asked[0]).intersection(*asked[1:]))
    if not names:
        return None

    def total(some: Sequence[_BySeed], of_measure: Callable[[Hits], npt.NDArray[np.int64]]) -> _Floats:
        tables = [[of_measure(of_seeds[seed].take(names)) for seed in seeds] for of_seeds in some]
        summed: _Floats = np.array(tables, dtype=np.float64).sum(0)
        return summed

    questions = total([r.before for r in kept], lambda hits: hits.questions)[0]
    before = total([r.before for r in kept], lambda hits: hits.hits)
    after = [total([r.after[a] for r in kept], lambda hits: hits.hits) for a in amounts]
    return Curve(amounts, before / questions, np.stack(after) / questions, questions)


def _rows(results: GridResults) -> Iterator[dict[str, Any]]:
    found = curves(results)
    if not found:
        return
    for (place, curve), half in zip(found.items(), half_lives(list(found.values())), strict=True):
        yield {
            "contaminate": place.contaminate, "unlearn": place.unlearn, "method": place.method, "probe": place.probe,
            "state": half.state, "unit": place.unit, "query": place.query, "seeds": curve.before.shape[0],
            "items": curve.before.shape[1], "half_life": half.value, "half_life_lo": half.low,
            "half_life_hi": half.high, "longest": curve.amounts[-1], "of_before": half.before, "of_after": half.after,
            "of_last": half.last,
        }  # fmt: skip


def _charts(results: GridResults) -> tuple[Chart, ...]:
    """Draw the half-lives of each probe, all query languages together; what is not back is at the longest training."""
    rows: dict[tuple[str, str], list[Estimate]] = {}
    for row in VIEW.table(results).to_pylist():
        if row["query"] == ALL and row["state"] != "not removed":
            rows.setdefault((row["probe"], row["unit"]), []).append(_estimate(row))
    axes = {"times": "% of the steps of unlearning", "items": "items"}
    return tuple(
        Forest(
            name=f"halflife-{probe}", title=f"Training after which half of the removed OF is back: {probe}",
            axis=axes[unit], rows=tuple(estimates),
        )
        for (probe, unit), estimates in rows.items()
    )  # fmt: skip


def _estimate(row: dict[str, Any]) -> Estimate:
    scale, back = 100 if row["unit"] == "times" else 1, row["state"] == "back"
    limits = (row["half_life"], row["half_life_lo"], row["half_life_hi"])
    value, low, high = (scale * (row["longest"] if x is None else x) for x in limits)
    label = f"{row['unlearn']} · {row['contaminate']} · {row['method']}" + ("" if back else ": not back")
    return Estimate(label=label, value=value, low=low, high=high, tone="bad" if back else "good")


VIEW = View(
    name="halflife",
    columns=columns(
        "half_life", "half_life_lo", "half_life_hi", "longest", "of_before", "of_after", "of_last",
        text=("contaminate", "unlearn", "method", "probe", "state", "unit"), whole=("seeds", "items"),
    ),
    rows=_rows,
    charts=_charts,
    title="Half-life",
    sentence=(
        "How much training after unlearning brings half of the removed OF back: clean training, in times the steps of "
        "unlearning, or forget items that are learned again. Without a number half was not back after the longest "
        "training, or OF was not clearly removed. 95 % limits over items and seeds."
    ),
)  # fmt: skip
