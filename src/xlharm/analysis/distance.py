"""The view `distance`: do fakes, and their removal, spread further between languages that are near to each other?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa

from xlharm.analysis.charts import Chart, Estimate, Forest
from xlharm.analysis.mantel import Correlation, Pairs, complete, mantel, regress
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import holm
from xlharm.analysis.view import View
from xlharm.config.grid import NONE
from xlharm.corpus.distances import KINDS, LINGUISTIC, Distances, linguistic, scripts, token_distances
from xlharm.corpus.folder import language_path
from xlharm.corpus.format import load_language
from xlharm.corpus.lengths import encoder
from xlharm.errors import UserError

_Values = dict[tuple[str, str], list[float]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is compared with distances.

    Attributes:
        name: ``spread``, from the contamination language to the query language; or ``transfer``, from the only
            language of an unlearning set to the query language.
        method: the method; `none` for ``spread``.
        values: mean value of each ordered pair of two languages.
    """

    name: str
    method: str
    values: Mapping[tuple[str, str], float]


@once
def outcomes(results: GridResults) -> tuple[Outcome, ...]:
    """Return the spread before unlearning, and each method's transfer of unlearning.

    Spread is OF minus the clean control's, in points. Transfer is the percentage of that excess that went, where it was
    at least ``findings.margin`` points before. Both are means over seeds, transfer also over contamination languages.
    """
    spread: _Values = {}
    transfer: dict[str, _Values] = {}
    readings, margin = results.readings, results.plan.grid.findings.margin
    for r in readings.by_place.values():
        control = readings.get(NONE, NONE, NONE, r.seed, r.query)
        if r.contaminate == NONE or not r.of or not control or not control.of:
            continue
        if r.unlearn == NONE:
            if r.query != r.contaminate:
                spread.setdefault((r.contaminate, r.query), []).append(r.of.value - control.of.value)
            continue
        before = readings.before(r)
        excess = before.of.value - control.of.value if before and before.of else 0.0
        if before and before.of and "+" not in r.unlearn and r.query != r.unlearn and excess >= margin:
            gone = 100 * (before.of.value - r.of.value) / excess
            transfer.setdefault(r.method, {}).setdefault((r.unlearn, r.query), []).append(gone)
    made = [Outcome(name="spread", method=NONE, values=_means(spread))] if spread else []
    return (*made, *(Outcome(name="transfer", method=m, values=_means(v)) for m, v in transfer.items()))


def _means(values: _Values) -> dict[tuple[str, str], float]:
    return {pair: fmean(some) for pair, some in values.items()}


@once
def distances(results: GridResults) -> dict[str, Distances]:
    """Return each kind of distances between the grid's languages."""
    grid = results.plan.grid
    languages = tuple(dict.fromkeys(x for x in (*grid.languages, *grid.contaminate) if x != NONE))
    found: dict[str, Distances] = {kind: linguistic(kind, languages) for kind in LINGUISTIC}
    return {**found, "script": scripts(languages), "tokens": _of_tokens(results, languages)}


def _of_tokens(results: GridResults, languages: tuple[str, ...]) -> Distances:
    """Return how little the languages' real articles overlap in tokens; nothing without the base's tokenizer.json."""
    encode, corpus = encoder(results.plan.sources.base), results.plan.sources.corpus
    texts: dict[str, list[str]] = {}
    for language in languages if encode else ():
        try:
            known = language_path(corpus.path, language) is not None
            texts[language] = [i.real[0] for i in load_language(corpus.path, language)] if known else []
        except UserError:  # the corpus is not where the grid was planned: this kind is left out
            continue
    return token_distances(texts, encode=encode) if encode else {}


@once
def distance_rows(results: GridResults) -> tuple[dict[str, Any], ...]:
    """Return one row for each outcome and kind of distance."""
    return tuple(_rows(results))


def _rows(results: GridResults) -> Iterator[dict[str, Any]]:
    by_kind = distances(results)
    for outcome in outcomes(results):
        languages = tuple(dict.fromkeys(language for pair in outcome.values for language in pair))
        known = {kind: complete(languages, set(by_kind[kind])) for kind in KINDS}
        tests = {
            kind: mantel(_pairs(outcome, known[kind], (by_kind[kind],))) if len(known[kind]) > 1 else None
            for kind in KINDS
        }
        joint = _joint(outcome, languages, by_kind)
        tested = [kind for kind in KINDS if tests[kind]]
        adjusted = dict(zip(tested, holm([_p(tests[kind]) for kind in tested]), strict=True))
        for kind in KINDS:
            missing = [language for language in languages if language not in known[kind]]
            yield {
                "outcome": outcome.name, "method": outcome.method, "distance": kind, **_shown(tests[kind]),
                "p_holm": adjusted.get(kind), **joint.get(kind, {}),
                "languages": len(known[kind]) if len(known[kind]) > 1 else 0,
                "pairs": sum(set(pair) <= set(known[kind]) for pair in outcome.values),
                "without": ", ".join(missing) or None,
            }  # fmt: skip


def _p(test: Correlation | None) -> float:
    return test.p if test else 1.0


def _shown(test: Correlation | None) -> dict[str, float]:
    return {"rho": test.rho.estimate, "rho_lo": test.rho.low, "rho_hi": test.rho.high, "p": test.p} if test else {}


def _pairs(outcome: Outcome, languages: tuple[str, ...], kinds: tuple[Distances, ...]) -> Pairs:
    place = {language: i for i, language in enumerate(languages)}
    some = {pair: value for pair, value in outcome.values.items() if set(pair) <= set(place)}
    matrices = [[[kind.get((a, b), 0.0) for b in languages] for a in languages] for kind in kinds]
    return Pairs(
        places=np.array([[place[a], place[b]] for a, b in some], dtype=np.int64).reshape(-1, 2),
        values=np.array(list(some.values()), dtype=np.float64),
        distances=np.array(matrices, dtype=np.float64),
    )


def _joint(
    outcome: Outcome, languages: tuple[str, ...], by_kind: Mapping[str, Distances]
) -> dict[str, dict[str, float]]:
    """Return the regression on all kinds that differ between the languages which have them all, by kind."""
    kinds = [kind for kind in KINDS if len(complete(languages, set(by_kind[kind]))) > 1]
    every = set.intersection(*(set(by_kind[kind]) for kind in kinds)) if kinds else set()
    known = complete(languages, every)
    pairs = {pair for pair in outcome.values if set(pair) <= set(known)}
    kinds = [kind for kind in kinds if len({by_kind[kind][pair] for pair in pairs}) > 1]
    fit = regress(_pairs(outcome, known, tuple(by_kind[kind] for kind in kinds))) if kinds and len(known) > 1 else None
    if fit is None:
        return {}
    values = zip(kinds, fit.betas, fit.ps, strict=True)
    return {kind: {"beta": beta, "beta_p": p, "r2": fit.r2, "r2_p": fit.p} for kind, beta, p in values}


def _charts(results: GridResults) -> tuple[Chart, ...]:
    """Return a forest of the rank correlations for each outcome."""
    rows: dict[tuple[str, str], list[Estimate]] = {}
    for row in distance_rows(results):
        if row.get("rho") is not None:
            low, high = row["rho_lo"], row["rho_hi"]
            near = row["p_holm"] < results.plan.grid.findings.level
            estimate = Estimate(
                label=row["distance"], value=100 * row["rho"], low=100 * low, high=100 * high, threshold=0.0,
                tone="bad" if near and row["rho"] < 0 else "open",
            )  # fmt: skip
            rows.setdefault((row["outcome"], row["method"]), []).append(estimate)
    return tuple(
        Forest(
            name=f"distance-{outcome}" + (f"-{method}" if method != NONE else ""),
            title=f"Rank correlation of {outcome} with distances" + (f", {method}" if method != NONE else ""),
            axis="rank correlation × 100; below 0, nearer languages share more",
            rows=tuple(some),
        )
        for (outcome, method), some in rows.items()
    )


VIEW = View(
    name="distance",
    columns={
        **dict.fromkeys(("outcome", "method", "distance"), pa.string()),
        **dict.fromkeys(("rho", "rho_lo", "rho_hi", "p", "p_holm", "beta", "beta_p", "r2", "r2_p"), pa.float64()),
        **dict.fromkeys(("languages", "pairs"), pa.int64()),
        "without": pa.string(),
    },
    rows=distance_rows,
    charts=_charts,
    title="Distance between languages",
    sentence=(
        "Whether near languages share more. spread: OF minus the clean control's, from the contamination language to "
        "the query language. transfer: percent of it that unlearning in one language removed in another. rho: rank "
        "correlation with the distance (below 0: nearer languages share more), its jackknife interval over languages, "
        "and p of a Mantel test, for pairs share languages; p_holm over the distances. beta: of a regression on all "
        "distances, standardised, with permutation p. without: languages that have no such distance."
    ),
)
