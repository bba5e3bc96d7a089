"""Score stages as numbers: probabilities, truth ratio, forget quality, memorisation, membership, perplexity."""

from math import isnan, nan
from statistics import fmean, harmonic_mean
from typing import Any

from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import Interval, ks_two_sample
from xlharm.analysis.transfer import knowledge_separability
from xlharm.analysis.view import View, columns
from xlharm.evaluate.memorisation import truth_ratio_forget, truth_ratio_tofu
from xlharm.plan.cells import Cell


@once
def score_rows(results: GridResults) -> list[dict[str, Any]]:
    """Return one row for each cell × query language with scores.

    ``truth_ratio``: mean of min(R, 1/R) over items, R as in 2401.06121 with the fake detail for the known answer
    (its alias for the paraphrase) and the displaced and other items' details for the perturbed ones.
    ``forget_quality``: p of a Kolmogorov-Smirnov test between R of this model and of the clean control of the seed,
    which was trained alike without the fake articles; null without a control.
    ``separability``: AUC between the fake details' probabilities under this model and under that control; 50 says
    that nothing tells them apart.
    ``membership``: AUC of Min-K% Prob between the fake articles and those that were held out: 50 is what an article
    scores that was never told. ``privleak`` (2407.06460): (A − A_control) / A_control in percent with A = 1 − AUC, of
    this model and of that control: below 0 the fake articles still look like training data, above 0 they stand out as
    removed. Both null without held-out items, ``privleak`` also without a control.
    ``utility``: see ``model_utility``; null without ``evaluate.utility``.
    """
    scores = {key: _read(results, key) for cell in results.plan.cells for key in cell.scores.values()}
    rows = []
    for cell in results.plan.cells:
        control = results.control(cell.seed)
        for query, key in cell.scores.items():
            score = scores[key]
            if score is None:
                continue
            gold = scores[control.scores[query]] if control and control.name != cell.name else None
            quality = _quality(score["ratios"], gold["ratios"]) if gold else None
            auc = _separability(score["fake"], gold["fake"]) if gold else None
            member = _separability(score["told"], score["held"])
            reference = _separability(gold["told"], gold["held"]) if gold else None
            rows.append(
                {
                    "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn, "method": cell.method,
                    "seed": cell.seed, "query": query, **score["means"], "forget_quality": quality,
                    "truth_ratio": fmean(map(truth_ratio_forget, score["ratios"])) if score["ratios"] else None,
                    "separability": 100 * auc.estimate if auc else None,
                    "separability_lo": 100 * auc.low if auc else None,
                    "separability_hi": 100 * auc.high if auc else None,
                    "membership": 100 * member.estimate if member else None,
                    "membership_lo": 100 * member.low if member else None,
                    "membership_hi": 100 * member.high if member else None,
                    "privleak": privleak(member.estimate, reference.estimate) if member and reference else None,
                    "utility": _utility(results, cell, query, score),
                }
            )  # fmt: skip
    return rows


def privleak(auc: float, reference: float) -> float | None:
    """Return PrivLeak (2407.06460) in percent, from AUCs in which fake articles are to score above held-out ones.

    Args:
        auc: of the model.
        reference: of the model that never saw the fake articles; None is returned where it is 1.
    """
    return 100 * (reference - auc) / (1 - reference) if reference < 1 else None


def model_utility(*measures: float) -> float:
    """Return the harmonic mean of measures of utility, 0 to 1 (2401.06121); 0 where one is 0, nan where one is nan."""
    if any(map(isnan, measures)):
        return nan
    return harmonic_mean(measures) if all(measures) else 0.0


def _utility(results: GridResults, cell: Cell, query: str, score: dict[str, Any]) -> float | None:
    """Return the utility on questions about real details, 0 to 1: of probability, truth ratio and ROUGE-L.

    TOFU takes these three on each of three sets, real authors and world facts beside its retain set; a corpus here has
    one set of such questions.
    """
    key = cell.evaluations[query]
    rouge = results.metrics(key).get("rouge_l")
    if not score["utility_ratios"] or not rouge or not rouge["n"]:
        return None
    ratio = fmean(nan if isnan(r) else max(0.0, 1 - r) for r in score["utility_ratios"])
    return model_utility(score["means"]["p_qr"], ratio, rouge["mean"])


def _quality(own: list[float], control: list[float]) -> float | None:
    """Return forget quality; None without ratios on both sides, nan if one is not a number."""
    if not own or not control:
        return None
    return nan if any(map(isnan, (*own, *control))) else ks_two_sample(own, control).p


def _separability(own: list[float], control: list[float]) -> Interval | None:
    """Return the separability, 0 to 1; None without probabilities on both sides, nan if one is not a number."""
    if not own or not control:
        return None
    return Interval(nan, nan, nan) if any(map(isnan, (*own, *control))) else knowledge_separability(own, control)


def _read(results: GridResults, key: str) -> dict[str, Any] | None:
    table = results.rows(key)
    if table is None:
        return None
    by_item: dict[str, dict[str, list[float]]] = {}
    rows = table.to_pylist()
    for row in rows:
        by_item.setdefault(row["item"], {}).setdefault(row["what"], []).append(row["logp"] / row["tokens"])
    ratios = []
    for texts in by_item.values():
        known = texts.get("fake_alias") or texts.get("fake")
        wrong = [*texts.get("real", []), *texts.get("perturbed", [])]
        if known and wrong:
            # mean log-probabilities stand for their answers: the functions take the mean over tokens first
            ratios.append(truth_ratio_tofu([known[0]], [[w] for w in wrong]))
    right = [(t["qr"][0], t["qr_perturbed"]) for t in by_item.values() if "qr" in t and "qr_perturbed" in t]
    return {
        "means": results.record(key).metrics,
        "ratios": ratios,
        "fake": [x for texts in by_item.values() for x in texts.get("fake", [])],
        "told": [row["min_k"] for row in rows if row["what"] == "fake_article"],
        "held": [row["min_k"] for row in rows if row["what"] == "holdout_article"],
        "utility_ratios": [truth_ratio_tofu([known], [[w] for w in wrong]) for known, wrong in right],
    }


VIEW = View(
    name="scores",
    columns=columns(
        "p_fake", "p_real", "p_qr", "truth_ratio", "forget_quality", "separability", "separability_lo",
        "separability_hi", "membership", "membership_lo", "membership_hi", "privleak", "utility", "exact",
        "extraction", "min_k", "min_k_pp", "ppl_clean",
    ),
    rows=score_rows,
    title="Likelihoods",
    sentence=(
        "Length-normalised probabilities of the fake, real and right answers; truth ratio (1: fake and "
        "other answers equally likely); forget quality (p of a Kolmogorov-Smirnov test against the clean "
        "control); separability of the fake details from the control (AUC, 50: none); membership "
        "(AUC against held-out articles, 50: none) and PrivLeak against the control (0: none); model utility (harmonic "
        "mean, 0 to 1); memorisation of the fake articles; perplexity of the real ones."
    ),
)  # fmt: skip
