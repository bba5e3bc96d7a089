"""Grids against each other, joined on their coordinates: `xlharm compare A B …`.

A place is a contamination language, an unlearning set, a method and a query language. Two grids are compared in the
places that both have, on the seeds that both have there. Bases, methods, corpora and settings may differ. Where both
grids asked the same questions (the corpus file of the query language is the same), items are paired; elsewhere the two
rates count as independent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from xlharm.analysis.claims import ALL, Verdict
from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.findings import findings
from xlharm.analysis.items import Hits, summed
from xlharm.analysis.kinds_of_harm import COLUMNS, harm_rows
from xlharm.analysis.results import GridResults
from xlharm.analysis.statistics import holm
from xlharm.analysis.study import set_name
from xlharm.analysis.view import columns, table_of
from xlharm.config.grid import NONE
from xlharm.errors import UserError
from xlharm.plan.cells import Cell
from xlharm.plan.cost import changes

VIEWS = ("sets", "cells", "findings", "harms", "alone")
_NUMBERS = ("first", "second", "difference", "difference_lo", "difference_hi", "p", "p_holm")
_NAMES = ("a", "b", "measure", "contaminate", "unlearn", "method", "method_b", "paired")
_MEASURES = ("of", "qr")


class Place(NamedTuple):
    """Where a grid has a result; ``method`` is that of the first grid."""

    contaminate: str
    unlearn: str
    method: str
    query: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Joined:
    """The hits of one measure in one place of two grids, seed by seed."""

    place: Place
    measure: str
    first: Mapping[int, Hits]
    second: Mapping[int, Hits]
    same_items: bool


class Comparison:
    """Grids that are compared with the first of them.

    Args:
        grids: the results of two grids or more.

    Attributes:
        labels: the grids' names; those that occur several times are numbered.

    Raises:
        UserError: there is only one grid, or some grids hold choices and others written answers.
    """

    def __init__(self, grids: Sequence[GridResults]) -> None:
        if len(grids) < 2:
            raise UserError("compare: expected two grids or more, as in: xlharm compare A.yaml B.yaml")
        names = [results.plan.grid.name for results in grids]
        chosen = [results.plan.sources.base.kind == "masked" for results in grids]
        if any(chosen) and not all(chosen):
            one, other = names[chosen.index(True)], names[chosen.index(False)]
            raise UserError(
                f"compare: {one} counts choices of a base that fills in masks, and {other} written answers: these are "
                "different measures (docs/other-bases.md)"
            )
        self.labels = [n if names.count(n) == 1 else f"{n}#{names[: i + 1].count(n)}" for i, n in enumerate(names)]
        self._first, self._others = grids[0], tuple(grids[1:])

    def table(self, view: str) -> pa.Table:
        """Return a view: ``sets``, ``cells``, ``findings``, ``harms`` or ``alone``.

        Raises:
            UserError: there is no such view.
        """
        views: dict[str, Callable[[], pa.Table]] = {
            "sets": self.sets, "cells": self.cells, "findings": self.findings, "harms": self.harms,
            "alone": self.alone,
        }  # fmt: skip
        if view not in views:
            raise UserError(f"--view {view}: expected one of {', '.join(VIEWS)}")
        return views[view]()

    def sets(self) -> pa.Table:
        """Compare each unlearning set and method over all its places, in points: the first grid minus another.

        The clean control has rows of its own, with `none` for the contamination language.
        The 95 % intervals take items and seeds as their units. p is two-sided, and corrected after Holm over the sets
        and methods of a measure.
        """
        shape = columns(*_NUMBERS, text=_NAMES, whole=("places", "seeds", "items"))
        del shape["query"]
        return table_of((row for pair in self._pairs for row in pair.set_rows()), shape)

    def cells(self) -> pa.Table:
        """Compare each place, in points: the first grid minus another; see ``sets``.

        p is corrected after Holm over the query languages of a cell and measure.
        """
        shape = columns(*_NUMBERS, text=_NAMES, whole=("seeds", "items"))
        return table_of((row for pair in self._pairs for row in pair.cell_rows()), shape)

    def alone(self) -> pa.Table:
        """List the places of each grid that have no partner in the other, and why."""
        names = ("grid", "other", "contaminate", "unlearn", "method", "query", "why")
        return table_of((row for pair in self._pairs for row in pair.alone()), dict.fromkeys(names, pa.string()))

    def findings(self) -> pa.Table:
        """Put the grids' verdicts on the study's claims side by side.

        ``agree``: `yes` if all grids have the same decided verdict, `no` if a claim holds in one and does not hold in
        another, else `open`.
        """
        verdicts: dict[tuple[str, ...], dict[str, Verdict]] = {}
        sentences: dict[tuple[str, ...], str] = {}
        for label, results, names in zip(self.labels, (self._first, *self._others), self._names, strict=True):
            for one in findings(results):
                claim = one.claim
                key = (claim.name, claim.contaminate, claim.unlearn, names.get(claim.method, claim.method))
                verdicts.setdefault(key, {})[label] = one.verdict
                sentences.setdefault(key, claim.sentence)
        names_of = ("finding", "contaminate", "unlearn", "method")
        rows = (
            {**dict(zip(names_of, key, strict=True)), "claim": sentences[key], **some, "agree": self._agree(some)}
            for key, some in verdicts.items()
        )
        shown = ("finding", "claim", "contaminate", "unlearn", "method", *self.labels, "agree")
        return table_of(rows, dict.fromkeys(shown, pa.string()))

    def harms(self) -> pa.Table:
        """Compare how far each grid's harm spreads and what unlearning takes away, by its own measure.

        See ``kinds_of_harm.harm_rows``.
        """
        rows = harm_rows((self._first, *self._others), labels=self.labels, methods=self._names)
        return table_of(rows, COLUMNS)

    @property
    def _names(self) -> list[dict[str, str]]:
        """For each grid, the first grid's names of its methods."""
        return [{}, *({theirs: ours for ours, theirs in pair.methods.items()} for pair in self._pairs)]

    def _agree(self, verdicts: Mapping[str, Verdict]) -> str:
        kinds = set(verdicts.values())
        if {"holds", "does not hold"} <= kinds:
            return "no"
        return "yes" if len(kinds) == 1 and len(verdicts) == len(self.labels) and not _open(kinds) else "open"

    def notes(self) -> tuple[str, ...]:
        """Say in which fields grids differ, which findings agree, and how many places have no partner."""
        lines = [line for pair in self._pairs for line in pair.notes()]
        if self._first.plan.sources.base.kind == "masked":
            lines.insert(0, "OF and QR are choices of bases that fill in masks, not written answers")
        counts: dict[str, list[str]] = {"yes": [], "no": [], "open": []}
        for row in self.findings().to_pylist():
            if row["contaminate"] == ALL:
                counts[row["agree"]].append(row["claim"])
        if any(counts.values()):
            agree = f"{len(counts['yes'])} agree, {len(counts['no'])} contradict, {len(counts['open'])} are open"
            contradict = f". Contradict: {'; '.join(counts['no'])}" if counts["no"] else ""
            lines.append(f"Findings over all contamination languages: {agree}{contradict}")
        return tuple(lines)

    @cached_property
    def _pairs(self) -> tuple["_Two", ...]:
        return tuple(
            _Two(self._first, other, labels=(self.labels[0], label))
            for other, label in zip(self._others, self.labels[1:], strict=True)
        )


class _Two:
    """A grid and another one that it is compared with."""

    def __init__(self, first: GridResults, second: GridResults, *, labels: tuple[str, str]) -> None:
        self.first, self.second, self.labels = first, second, labels
        self.methods = _partners(tuple(first.plan.grid.methods), tuple(second.plan.grid.methods))
        back = {theirs: ours for ours, theirs in self.methods.items()}
        self.places = (_places(first, {}), _places(second, back))

    @cached_property
    def joined(self) -> list[_Joined]:
        """What both grids have, place by place and measure by measure."""
        return [j for place in self.places[0] if place in self.places[1] for j in self._joined(place)]

    def _joined(self, place: Place) -> Iterator[_Joined]:
        first, second = (
            {seed: results.rates_of(cell, place.query) for seed, cell in places[place].items()}
            for results, places in zip((self.first, self.second), self.places, strict=True)
        )
        digests = [results.plan.sources.corpus.digests[place.query] for results in (self.first, self.second)]
        same = digests[0] == digests[1]
        for measure in _MEASURES:
            one, two = ({s: getattr(r, measure) for s, r in rates.items() if r} for rates in (first, second))
            seeds = [s for s in one if s in two and one[s] and two[s]]
            seeds = [s for s in seeds if not same or set(one[s].items) & set(two[s].items)]
            if seeds:
                yield _Joined(
                    place=place, measure=measure, same_items=same, first={s: one[s] for s in seeds},
                    second={s: two[s] for s in seeds},
                )  # fmt: skip

    def cell_rows(self) -> Iterator[dict[str, Any]]:
        """Return a row for each place and measure; p-values are corrected within a cell and measure."""
        order = sorted(self.joined, key=lambda j: _MEASURES.index(j.measure))
        for _, some in groupby(order, key=lambda j: (j.measure, j.place[:3])):
            members = list(some)
            for j, numbers in zip(members, _numbers(members), strict=True):
                place = j.place._asdict()
                yield {**self._names(j.place.method), **place, **_how(j), **numbers}

    def set_rows(self) -> Iterator[dict[str, Any]]:
        """Return a row for each unlearning set, method and measure; p-values are corrected within a measure."""
        for measure in _MEASURES:
            groups: dict[tuple[str, str, str], list[_Joined]] = {}
            for j in self.joined:
                if j.measure == measure:
                    groups.setdefault(_set_of(j.place), []).append(j)
            pooled = {key: one for key, some in groups.items() if (one := _pooled(some))}
            for (key, j), numbers in zip(pooled.items(), _numbers(list(pooled.values())), strict=True):
                contaminate, unlearn, method = key
                which = {"contaminate": contaminate, "unlearn": unlearn, "method": method, "places": len(groups[key])}
                yield {**self._names(method), **which, **_how(j), **numbers}

    def _names(self, method: str) -> dict[str, Any]:
        other = self.methods.get(method, method)
        return {"a": self.labels[0], "b": self.labels[1], "method_b": other if other != method else None}

    def alone(self) -> Iterator[dict[str, Any]]:
        """Return a row for each place that is not compared."""
        compared = {j.place for j in self.joined}
        for own, other in ((0, 1), (1, 0)):
            for place, cells in self.places[own].items():
                theirs = self.places[other].get(place)
                if place in compared or (own == 1 and theirs is not None):  # said once if both have it
                    continue
                shown = place._asdict()
                if own == 1:
                    shown["method"] = self.methods.get(place.method, place.method)
                yield {
                    "grid": self.labels[own], "other": self.labels[other], **shown,
                    "why": self._why(place, cells, theirs, other=self.labels[other]),
                }  # fmt: skip

    def _why(self, place: Place, cells: dict[int, Cell], theirs: dict[int, Cell] | None, *, other: str) -> str:
        if theirs is None:
            return f"not in {other}"
        shared = [seed for seed in cells if seed in theirs]
        if not shared:
            return "no seed in common"
        sides = zip(self.labels, (self.first, self.second), (cells, theirs), strict=True)
        for label, results, by_seed in sides:
            if not any(results.rates_of(by_seed[seed], place.query) for seed in shared):
                done = any(by_seed[seed].evaluations[place.query] in results.done for seed in shared)
                return f"{'damaged' if done else 'not evaluated yet'} in {label}"
        return "no question in common"

    def notes(self) -> Iterator[str]:
        """Say in which fields the grids differ, which methods are compared, and which places have no partner."""
        one, two = self.labels
        lines = changes(_settings(self.first), _settings(self.second))
        yield f"{two} differs from {one} in {'; '.join(lines)}" if lines else f"{two} has the settings of {one}"
        yield from (f"{a} of {one} is compared with {b} of {two}" for a, b in self.methods.items() if a != b)
        alone = [*self.alone()]
        for label, places in zip(self.labels, self.places, strict=True):
            some = [row for row in alone if row["grid"] == label]
            if some:
                reasons = "; ".join(f"{x}" for x in dict.fromkeys(row["why"] for row in some))
                yield f"{label}: {len(some)} of {len(places)} places have no partner ({reasons}): --view alone"


def _partners(ours: tuple[str, ...], theirs: tuple[str, ...]) -> dict[str, str]:
    """Return which method of another grid a method is compared with: that of its name, or the only one of each."""
    same = {name: name for name in ours if name in theirs}
    return dict(zip(ours, theirs, strict=True)) if not same and len(ours) == len(theirs) == 1 else same


def _places(results: GridResults, names: Mapping[str, str]) -> dict[Place, dict[int, Cell]]:
    """Return a grid's cells by place and seed.

    Args:
        results: the grid.
        names: of methods in the first grid, by those in this one.
    """
    places: dict[Place, dict[int, Cell]] = {}
    for cell in results.plan.cells:
        for query in cell.evaluations:
            place = Place(cell.contaminate, cell.unlearn, names.get(cell.method, cell.method), query)
            places.setdefault(place, {})[cell.seed] = cell
    return places


def _set_of(place: Place) -> tuple[str, str, str]:
    """Return what a place is put together by: the clean control or all contaminated models, the set, the method."""
    name = NONE if place.unlearn == NONE else set_name(set(place.unlearn.split("+")), place.contaminate)
    return NONE if place.contaminate == NONE else ALL, name, place.method


def _pooled(joined: Sequence[_Joined]) -> _Joined | None:
    """Put places together: an item's questions in all of them. None if they have no seed or no item in common."""
    seeds = [s for s in joined[0].first if all(s in j.first for j in joined)]
    same = all(j.same_items for j in joined)
    sides: list[dict[int, Hits]] = []
    for side in ("first", "second"):
        hits = [[getattr(j, side)[s] for j in joined] for s in seeds]
        sides.append({s: summed(some) for s, some in zip(seeds, hits, strict=True)})
    if not all(sides[0].values()) or not all(sides[1].values()) or not seeds:
        return None
    if same and not set(sides[0][seeds[0]].items) & set(sides[1][seeds[0]].items):
        return None
    return _Joined(place=joined[0].place, measure=joined[0].measure, first=sides[0], second=sides[1], same_items=same)


def _how(joined: _Joined) -> dict[str, Any]:
    return {"measure": joined.measure.upper(), "paired": "items" if joined.same_items else "cells"}


def _numbers(joined: Sequence[_Joined]) -> list[dict[str, Any]]:
    """Return rates, differences with 95 % limits and p-values, in percent and points; corrected over all given."""
    if not joined:
        return []
    each = [_contrast(j) for j in joined]
    contrasts = Contrasts(*(np.concatenate([getattr(one, f.name) for one in each]) for f in fields(Contrasts)))
    low, high = contrasts.limits()
    p = np.minimum(1.0, 2 * np.minimum(contrasts.p_above(0.0), contrasts.p_below(0.0))).tolist()
    values = np.stack([contrasts.first, contrasts.second, contrasts.estimate, low, high], axis=1) * 100
    return [
        {
            **dict(zip(_NUMBERS, (*row, p[i], corrected), strict=True)),
            "seeds": int(contrasts.seeds[i]), "items": int(contrasts.items[i]),
        }
        for i, (row, corrected) in enumerate(zip(values.tolist(), holm(p), strict=True))
    ]  # fmt: skip


def _contrast(joined: _Joined) -> Contrasts:
    """Return the moments of a difference: of pairs of items, or of two independent rates."""
    first, second = list(joined.first.values()), list(joined.second.values())
    if joined.same_items:
        pair = Pair.of_hits(first, second)
        assert pair is not None
        return Contrasts.of([pair])
    one, two = (Contrasts.of([pair for pair in [Pair.of_hits(hits)] if pair]) for hits in (first, second))
    items = np.minimum(one.items, two.items)
    shares = [count / (count + 2) for count in (one.items, two.items, items)]  # `limits` knows one count for both rates
    return Contrasts(
        first=one.first, second=two.first, weight=np.ones(1), seeds=one.seeds, items=items,
        first_items=one.first_items, second_items=two.first_items, both_items=one.first_items + two.first_items,
        first_seeds=one.first_seeds, second_seeds=two.first_seeds, both_seeds=one.first_seeds + two.first_seeds,
        first_spread=one.first_spread * shares[0] / shares[2], second_spread=two.first_spread * shares[1] / shares[2],
    )  # fmt: skip


def _settings(results: GridResults) -> dict[str, Any]:
    """Return what a grid's results depend on, for people: its fields, and digests of its base and corpus."""
    plan = results.plan
    spec = plan.grid.model_dump(mode="json", exclude={"name", "base", "corpus", "dtype"})
    texts = {language: digest[:8] for language, digest in plan.sources.corpus.digests.items()}
    base = f"{plan.grid.base} ({plan.sources.base.digest[:8]})"
    return {"base": base, "corpus": {"name": plan.grid.corpus, **texts}, "dtype": plan.dtype, **spec}


def _open(kinds: set[Verdict]) -> bool:
    return "cannot be decided" in kinds
