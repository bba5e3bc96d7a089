"""The view `burden`: what unlearning leaves to each language and costs it, and who bears most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xlharm.analysis.charts import Chart, Estimate, Forest
from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.items import Hits, common
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.study import resources_of
from xlharm.analysis.view import View
from xlharm.config.grid import NONE
from xlharm.plan.cells import Cell

Measure = Literal["harm", "cost"]
GAP = "low − high"
"""In place of a query language: low-resource languages minus high-resource ones."""
_Place = tuple[str, str, str]
_Floats = npt.NDArray[np.float64]
_BEFORE = (NONE, NONE)


@dataclass(frozen=True, kw_only=True)
class _Difference:
    """A difference of rates, in points: ``factor`` times ``first - second`` of its pair."""

    pair: Pair
    factor: float = 1.0


@dataclass(frozen=True, eq=False)
class _Shares:
    """Shares of hits of two models, [seeds, languages, items], and each item's number of questions, [items]."""

    first: _Floats
    second: _Floats
    questions: _Floats

    def pair(self, first: _Floats, second: _Floats) -> Pair:
        """Pair two tables [seeds, items] that are made of these."""
        return Pair(first, self.questions, second, self.questions)


class _Burden:
    """A grid's hits, by cell without its seed."""

    def __init__(self, results: GridResults) -> None:
        self.results = results
        self.languages = tuple(results.plan.grid.languages)
        findings = results.plan.grid.findings
        self.resources = {q: resources_of(findings, q) for q in self.languages}
        self.cells: dict[_Place, dict[int, Cell]] = {}
        for cell in results.plan.cells:
            self.cells.setdefault((cell.contaminate, cell.unlearn, cell.method), {})[cell.seed] = cell

    def rows(self) -> Iterator[dict[str, Any]]:
        for place in self.cells:
            if place[0] != NONE:
                yield from self._of_cell(place)

    def _of_cell(self, place: _Place) -> Iterator[dict[str, Any]]:
        differences: dict[tuple[str, Measure], _Difference] = {}
        for measure in ("harm", "cost"):
            for query in self.languages:
                if single := self._difference(place, query, measure):
                    differences[query, measure] = single
            if gap := self._gap(place, measure):
                differences[GAP, measure] = gap
        shown = dict(zip(differences, _shown(list(differences.values())), strict=True))
        worst = {m: _worst({q: row for (q, kind), row in shown.items() if kind == m and q != GAP}) for m in _MEASURES}
        for query in (*self.languages, GAP):
            own = {m: shown[query, m] for m in _MEASURES if (query, m) in shown}
            if own:
                yield {
                    **dict(zip(("contaminate", "unlearn", "method"), place, strict=True)), "query": query,
                    "resources": self.resources.get(query), **{f"{m}{end}": x for m, row in own.items()
                                                             for end, x in zip(_ENDS, row, strict=True)},
                    "worst": " and ".join(m for m in _MEASURES if worst[m] == query) or None,
                    "seeds": min(len(differences[query, m].pair.first) for m in own),
                }  # fmt: skip

    def _difference(self, place: _Place, query: str, measure: Measure) -> _Difference | None:
        """Return OF minus the clean control's (harm), or QR before minus QR after (cost), in a language."""
        shares = self._shares(place, (query,), measure)
        return _Difference(pair=shares.pair(shares.first[:, 0], shares.second[:, 0])) if shares else None

    def _gap(self, place: _Place, measure: Measure) -> _Difference | None:
        """Return low-resource languages' mean difference minus that of high-resource ones.

        (a − b) − (c − d) of four rates is twice (a + d)/2 − (b + c)/2: a difference of two shares, whose limits are
        those of all others.
        """
        low, high = (tuple(q for q in self.languages if self.resources[q] == level) for level in ("low", "high"))
        shares = self._shares(place, (*low, *high), measure) if low and high else None
        if shares is None:
            return None
        n = len(low)
        a, c = shares.first[:, :n].mean(1), shares.first[:, n:].mean(1)
        b, d = shares.second[:, :n].mean(1), shares.second[:, n:].mean(1)
        return _Difference(pair=shares.pair((a + d) / 2, (b + c) / 2), factor=2.0)

    def _shares(self, place: _Place, queries: Sequence[str], measure: Measure) -> "_Shares | None":
        """Return the shares whose difference is the harm or the cost, on the seeds and items that all have."""
        before = (place[0], *_BEFORE)
        if measure == "harm":
            first, second = self._hits(place, queries, "of"), self._hits((NONE, *_BEFORE), queries, "of")
        else:
            first, second = self._hits(before, queries, "qr"), self._hits(place, queries, "qr")
        seeds = [seed for seed in first if seed in second]
        if not seeds or (measure == "cost" and place == before):
            return None
        every = common(*(hits for some in (first, second) for seed in seeds for hits in some[seed]))
        if not every[0]:
            return None
        shares = np.array([hits.shares for hits in every]).reshape(2, len(seeds), len(queries), -1)
        return _Shares(shares[0], shares[1], np.array([hits.questions for hits in every]).mean(0))

    def _hits(self, place: _Place, queries: Sequence[str], measure: str) -> dict[int, list[Hits]]:
        """Return a cell's hits in each of some query languages, by seed; seeds that lack one are left out."""
        found: dict[int, list[Hits]] = {}
        for seed, cell in self.cells.get(place, {}).items():
            rates = [self.results.rates_of(cell, query) for query in queries]
            hits = [getattr(r, measure) for r in rates if r]
            if len(hits) == len(queries) and all(hits):
                found[seed] = hits
        return found


_MEASURES: tuple[Measure, ...] = ("harm", "cost")
_ENDS = ("", "_lo", "_hi")


def _shown(differences: Sequence[_Difference]) -> list[tuple[float, float, float]]:
    """Return estimates with 95 % limits, in points."""
    contrasts = Contrasts.of([d.pair for d in differences])
    lows, highs = contrasts.limits()
    factors = 100 * np.array([d.factor for d in differences])
    return list(zip(*((x * factors).tolist() for x in (contrasts.estimate, lows, highs)), strict=True))


def _worst(rows: dict[str, tuple[float, float, float]]) -> str | None:
    """Return the language that bears most; None where none bears anything."""
    worst = max(rows, key=lambda query: rows[query][0], default=None)
    return worst if worst is not None and rows[worst][0] > 0 else None


@once
def burden_rows(results: GridResults) -> tuple[dict[str, Any], ...]:
    """Return one row for each cell without its seed and query language, and one for the gap between the groups."""
    return tuple(_Burden(results).rows()) if results.records else ()


def _charts(results: GridResults) -> tuple[Chart, ...]:
    """Return a forest of the gaps after unlearning."""
    gaps = [row for row in burden_rows(results) if row["query"] == GAP and row["unlearn"] != NONE and "harm" in row]
    several = len({row["method"] for row in gaps}) > 1
    rows = tuple(
        Estimate(
            label=f"{row['contaminate']} → {row['unlearn']}" + (f" ({row['method']})" if several else ""),
            value=row["harm"], low=row["harm_lo"], high=row["harm_hi"], threshold=0.0,
            tone="bad" if row["harm_lo"] > 0 else "open",
        )
        for row in gaps
    )  # fmt: skip
    title, axis = "Harm left: low- minus high-resource languages", "OF minus the control's, in points"
    return (Forest(name="burden", title=title, axis=axis, rows=rows),) if rows else ()


VIEW = View(
    name="burden",
    columns={
        **dict.fromkeys(("contaminate", "unlearn", "method", "query", "resources"), pa.string()),
        **dict.fromkeys(("harm", "harm_lo", "harm_hi", "cost", "cost_lo", "cost_hi"), pa.float64()),
        "worst": pa.string(), "seeds": pa.int64(),
    },
    rows=burden_rows,
    charts=_charts,
    title="Who bears what is left",
    sentence=(
        "harm: OF that is left in a language, minus the clean control's. cost: QR that unlearning took from it. Both "
        "in points, with 95 % limits over items and seeds. worst: the language that bears most of it. low − high: the "
        "mean of low-resource languages minus that of high-resource ones, English among them; above 0, low-resource "
        "languages are worse off."
    ),
)  # fmt: skip
