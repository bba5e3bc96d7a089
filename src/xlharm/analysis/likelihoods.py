"""Score stages as numbers: probabilities, truth ratio, forget quality, memorisation, membership, perplexity."""

from math import isnan, nan
from statistics import fmean
from typing import Any

from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import Interval, ks_two_sample
from xlharm.analysis.transfer import knowledge_separability
from xlharm.analysis.view import View, columns
from xlharm.evaluate.memorisation import truth_ratio_forget, truth_ratio_tofu


@once
def score_rows(results: GridResults) -> list[dict[str, Any]]:
    """Return one row for each cell × query language with scores.

    ``truth_ratio``: mean of min(R, 1/R) over items, R as in 2401.06121 with the fake detail for the known answer
    (its alias for the paraphrase) and the displaced and other items' details for the perturbed ones.
    ``forget_quality``: p of a Kolmogorov-Smirnov test between R of this model and of the clean control of the seed,
    which was trained alike without the fake articles; null without a control.
    ``separability``: AUC between the fake details' probabilities under this model and under that control; 50 says
    that nothing tells them apart.
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
            rows.append(
                {
                    "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn, "method": cell.method,
                    "seed": cell.seed, "query": query, **score["means"], "forget_quality": quality,
                    "truth_ratio": fmean(map(truth_ratio_forget, score["ratios"])) if score["ratios"] else None,
                    "separability": 100 * auc.estimate if auc else None,
                    "separability_lo": 100 * auc.low if auc else None,
                    "separability_hi": 100 * auc.high if auc else None,
                }
            )  # fmt: skip
    return rows


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
    for row in table.to_pylist():
        by_item.setdefault(row["item"], {}).setdefault(row["what"], []).append(row["logp"] / row["tokens"])
    ratios = []
    for texts in by_item.values():
        known = texts.get("fake_alias") or texts.get("fake")
        wrong = [*texts.get("real", []), *texts.get("perturbed", [])]
        if known and wrong:
            # mean log-probabilities stand for their answers: the functions take the mean over tokens first
            ratios.append(truth_ratio_tofu([known[0]], [[w] for w in wrong]))
    fake = [x for texts in by_item.values() for x in texts.get("fake", [])]
    return {"means": results.record(key).metrics, "ratios": ratios, "fake": fake}


VIEW = View(
    name="scores",
    columns=columns(
        "p_fake", "p_real", "p_qr", "truth_ratio", "forget_quality", "separability", "separability_lo",
        "separability_hi", "exact", "extraction", "min_k", "min_k_pp", "ppl_clean",
    ),
    rows=score_rows,
    title="Likelihoods",
    sentence=(
        "Length-normalised probabilities of the fake, real and right answers; truth ratio (1: fake and "
        "other answers equally likely); forget quality (p of a Kolmogorov-Smirnov test against the clean "
        "control); separability of the fake details from the control (AUC, 50: none); memorisation and membership "
        "of the fake articles; perplexity of the real ones."
    ),
)  # fmt: skip
