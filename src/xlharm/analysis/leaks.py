"""The view `leaks`: fake details that greedy answers in the query language do not show."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import comb
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.intervals import clustered
from xlharm.analysis.items import Hits
from xlharm.analysis.results import GridResults
from xlharm.analysis.view import View, columns
from xlharm.config.matching import Variant
from xlharm.corpus.match import contains
from xlharm.plan.cells import Cell

_Forms = Mapping[str, tuple[str, ...]]
"""A fake detail's forms, by language."""
_COLUMNS = ("item", "measure", "question", "answer", "expected", "hit")


def leak_at_k(hits: int, n: int, k: int) -> float:
    """Return the chance that at least one of k sampled answers is a hit (leak@k of 2511.04934 for a binary score).

    1 − C(n − hits, k) / C(n, k): the unbiased estimator from n samples (that of pass@k, 2107.03374).

    Args:
        hits: samples that are hits.
        n: samples.
        k: 1 to n.

    Raises:
        ValueError: a number is out of its range.
    """
    if not (0 <= hits <= n and 1 <= k <= n):
        raise ValueError(f"{hits} hits of {n} samples, k {k}")
    return 1 - comb(n - hits, k) / comb(n, k)


class _Matcher:
    """Tells in which languages an answer states a detail; many answers are the same."""

    def __init__(self, variants: Mapping[str, tuple[Variant, ...] | None]) -> None:
        self._variants = variants
        self._known: dict[tuple[str, str, tuple[str, ...]], bool] = {}

    def languages(self, answer: str, forms: _Forms) -> list[str]:
        return [language for language, own in forms.items() if self._states(answer, language, own)]

    def _states(self, answer: str, language: str, forms: tuple[str, ...]) -> bool:
        place = (language, answer, forms)
        if place not in self._known:
            variants = self._variants[language]
            self._known[place] = contains(answer, forms, language=language, variants=variants)
        return self._known[place]


def _rows(results: GridResults) -> Iterator[dict[str, Any]]:
    forms = _forms(results)
    evaluations = [(q, key) for cell in results.plan.cells for q, key in cell.evaluations.items()]
    specs = {q: results.plan.stages[key].spec.get("matching") for q, key in evaluations}
    matcher = _Matcher({q: None if variants is None else tuple(variants) for q, variants in specs.items()})
    for cell in results.plan.cells:
        for query, key in cell.evaluations.items():
            rows = _of_rows(results, key)
            if rows:
                yield {**_axes(cell, query), "measure": "of_any", **_any_language(rows, query, forms, matcher)}
        for probe, evaluations_of in cell.probes.items():
            for query, key in evaluations_of.items():
                settings = results.plan.stages[key].spec.get("probe", {})
                if settings.get("kind") == "sample":
                    usual = results.rates_of(cell, query) if query in cell.evaluations else None
                    of = 100 * usual.of.rate if usual and usual.of else None
                    for row in _sampled(_of_rows(results, key), samples=int(settings["samples"])):
                        yield {**_axes(cell, query), "probe": probe, "of": of, **row}


def _axes(cell: Cell, query: str) -> dict[str, Any]:
    names = ("contaminate", "unlearn", "method", "seed")
    return {"cell": cell.name, **{name: getattr(cell, name) for name in names}, "query": query}


def _of_rows(results: GridResults, key: str) -> list[dict[str, Any]]:
    """Return the answers to questions about the fake detail, in the order in which they were asked."""
    table = results.rows(key, columns=_COLUMNS) if key in results.done else None
    return [] if table is None else table.filter(pc.equal(table["measure"], "of")).to_pylist()


def _forms(results: GridResults) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return every item's fake detail in each query language, as the stored answers name it."""
    forms: dict[str, dict[str, tuple[str, ...]]] = {}
    for query in results.plan.grid.languages:
        keys = (cell.evaluations[query] for cell in results.plan.cells)
        rows = next((rows for key in keys if (rows := _of_rows(results, key))), [])
        for row in rows:
            forms.setdefault(row["item"], {})[query] = tuple(row["expected"])
    return forms


def _any_language(
    rows: Sequence[Mapping[str, Any]], query: str, forms: Mapping[str, _Forms], matcher: _Matcher
) -> dict[str, Any]:
    counts: dict[str, list[int]] = {}
    elsewhere: Counter[str] = Counter()
    for row in rows:
        others = {x: own for x, own in forms[row["item"]].items() if x != query}
        stated = [] if row["hit"] else matcher.languages(row["answer"] or "", others)
        elsewhere.update(stated)
        hits = counts.setdefault(row["item"], [0, 0, 0])
        hits[0] += bool(row["hit"]) or bool(stated)
        hits[1] += bool(row["hit"])
        hits[2] += 1
    table = np.array(list(counts.values()), dtype=np.int64)
    either, own = (Hits(tuple(counts), table[:, i], table[:, 2]) for i in (0, 1))
    low, high = clustered(either)
    named = ", ".join(f"{language} {count}" for language, count in elsewhere.most_common())
    return {
        "value": 100 * either.rate, "low": 100 * low, "high": 100 * high, "of": 100 * own.rate,
        "n": int(table[:, 2].sum()), "languages": named or None,
    }  # fmt: skip


def _sampled(rows: Sequence[Mapping[str, Any]], *, samples: int) -> Iterator[dict[str, Any]]:
    """Return a row for each k: the powers of 2 below the number of samples, and that number."""
    by_item: dict[str, list[int]] = {}
    for start in range(0, len(rows), samples):
        some = rows[start : start + samples]
        by_item.setdefault(some[0]["item"], []).append(sum(bool(row["hit"]) for row in some))
    if not by_item:
        return
    questions = np.array([len(hits) for hits in by_item.values()], dtype=np.float64)
    ks = [*(2**i for i in range(samples.bit_length()) if 2**i < samples), samples]
    shares = [[np.mean([leak_at_k(h, samples, k) for h in hits]) for hits in by_item.values()] for k in ks]
    contrasts = Contrasts.of([Pair(np.array([share], dtype=np.float64), questions) for share in shares])
    lows, highs = contrasts.limits()
    for k, value, low, high in zip(ks, contrasts.estimate.tolist(), lows.tolist(), highs.tolist(), strict=True):
        yield {
            "measure": f"leak@{k}", "k": k, "n": int(questions.sum()), "value": 100 * value, "low": 100 * low,
            "high": 100 * high,
        }  # fmt: skip


VIEW = View(
    name="leaks",
    columns={
        **columns("value", "low", "high", "of", text=("cell", "contaminate", "unlearn", "method", "probe", "measure"),
                  whole=("seed", "k", "n")),
        "languages": pa.string(),
    },
    rows=_rows,
    title="Leaks beside OF",
    sentence=(
        "Fake details that OF does not count. of_any: percent of questions whose answer states the fake detail in any "
        "of the grid's languages (2510.23949); languages: where it was another than the question's, with counts. "
        "leak@k: percent of questions where one of k sampled answers states it, of the probe `sample` (2511.04934). "
        "of: the same cell's OF with greedy answers. low and high: 95 %, over items."
    ),
)  # fmt: skip
