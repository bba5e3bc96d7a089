"""The view `leaks`: fake details that greedy answers in the query language do not show."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
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
from xlharm.config.matching import MATCHING_VERSION
from xlharm.corpus.match import contains, normalise
from xlharm.plan.cells import Cell
from xlharm.plan.digest import digest

_COLUMNS = ("item", "measure", "answer", "hit")
_NONE = pa.table({name: pa.array([], pa.string()) for name in (*_COLUMNS, "expected")})
_DIFFERENT = 2**18  # answers that are kept in memory with the languages that they are in


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


class _Details:
    """The grid's fake details in each query language, and which of them answers state.

    Args:
        results: of the grid.
    """

    def __init__(self, results: GridResults) -> None:
        self.forms = _forms(results)
        keys = {q: key for cell in results.plan.cells for q, key in cell.evaluations.items()}
        chosen = {q: results.plan.stages[key].spec.get("matching") for q, key in keys.items()}
        self.variants = {q: None if some is None else tuple(some) for q, some in chosen.items()}
        self._folded = {
            item: {q: tuple(normalise(form, q, self.variants[q]) for form in own) for q, own in by_query.items()}
            for item, by_query in self.forms.items()
        }
        self.elsewhere = lru_cache(maxsize=_DIFFERENT)(self._elsewhere)  # many answers are the same

    def version(self) -> str:
        """Return the digest of what decides, beside the answers, which details they state."""
        return digest([MATCHING_VERSION, self.forms, self.variants])

    def _elsewhere(self, item: str, query: str, answer: str) -> tuple[str, ...]:
        """Return the languages but the query's in which an answer states an item's fake detail."""
        return tuple(
            language
            for language in self.forms[item]
            if language != query and self._may_state(item, language, answer)
            and contains(answer, self.forms[item][language], language=language, variants=self.variants[language])
        )  # fmt: skip

    def _may_state(self, item: str, language: str, answer: str) -> bool:
        """Whether a form of a detail is somewhere in an answer, which few are: only there its edges are looked at."""
        text = normalise(answer, language, self.variants[language])
        return any(form in text for form in self._folded[item][language])


def _rows(results: GridResults) -> Iterator[dict[str, Any]]:
    details = _Details(results)
    queries = {key: query for cell in results.plan.cells for query, key in cell.evaluations.items()}
    any_language = results.noted(
        "leaks",
        version=details.version(),
        compute=lambda key: _any_language(_of_rows(results, key), queries[key], details),
    )
    for cell in results.plan.cells:
        for query, key in cell.evaluations.items():
            if any_language.get(key):
                yield {**_axes(cell, query), "measure": "of_any", **any_language[key]}
        for probe, evaluations_of in cell.probes.items():
            for query, key in evaluations_of.items():
                settings = results.plan.stages[key].spec.get("probe", {})
                if settings.get("kind") == "sample":
                    usual = results.rates_of(cell, query) if query in cell.evaluations else None
                    of = 100 * usual.of.rate if usual and usual.of else None
                    for row in _sampled(_of_rows(results, key).to_pylist(), samples=int(settings["samples"])):
                        yield {**_axes(cell, query), "probe": probe, "of": of, **row}


def _axes(cell: Cell, query: str) -> dict[str, Any]:
    names = ("contaminate", "unlearn", "method", "seed")
    return {"cell": cell.name, **{name: getattr(cell, name) for name in names}, "query": query}


def _of_rows(results: GridResults, key: str, *more: str) -> pa.Table:
    """Return the answers to questions about the fake detail, in the order in which they were asked."""
    table = results.rows(key, columns=(*_COLUMNS, *more)) if key in results.done else None
    return _NONE if table is None else table.filter(pc.equal(table["measure"], "of"))


def _forms(results: GridResults) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return every item's fake detail in each query language, as the stored answers name it."""
    forms: dict[str, dict[str, tuple[str, ...]]] = {}
    for query in results.plan.grid.languages:
        tables = (_of_rows(results, cell.evaluations[query], "expected") for cell in results.plan.cells)
        for row in next((table for table in tables if table.num_rows), _NONE).to_pylist():
            forms.setdefault(row["item"], {})[query] = tuple(row["expected"])
    return forms


def _any_language(rows: pa.Table, query: str, details: _Details) -> dict[str, Any]:
    """Return the rates of one evaluation, over items; nothing without questions about the fake detail."""
    if not rows.num_rows:
        return {}
    items, answers, hits = (rows[name].to_pylist() for name in ("item", "answer", "hit"))
    stated = [
        () if hit else details.elsewhere(item, query, answer or "")
        for item, answer, hit in zip(items, answers, hits, strict=True)
    ]
    names = tuple(dict.fromkeys(items))
    places = {name: i for i, name in enumerate(names)}
    place = np.array([places[item] for item in items])
    told, anywhere = np.array(hits, dtype=bool), np.array([bool(some) for some in stated])
    own, either, asked = (
        np.bincount(place[some], minlength=len(names)) for some in (told, told | anywhere, np.ones(len(items), bool))
    )
    elsewhere = Counter(language for some in stated for language in some)
    low, high = clustered(Hits(names, either, asked))
    named = ", ".join(f"{language} {count}" for language, count in elsewhere.most_common())
    return {
        "value": 100 * Hits(names, either, asked).rate, "low": 100 * low, "high": 100 * high,
        "of": 100 * Hits(names, own, asked).rate, "n": int(asked.sum()), "languages": named or None,
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
