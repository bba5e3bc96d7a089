"""Score stages as numbers: probabilities, truth ratio, forget quality, memorisation, membership, perplexity."""

from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from xlharm.analysis.items import Items
from xlharm.analysis.statistics import ks_two_sample
from xlharm.analysis.transfer import knowledge_separability
from xlharm.errors import CorruptArtifactError
from xlharm.evaluate.memorisation import truth_ratio_forget, truth_ratio_tofu
from xlharm.store.store import Store

COLUMNS = (
    "p_fake", "p_real", "p_qr", "truth_ratio", "forget_quality", "separability", "separability_lo",
    "separability_hi", "exact", "extraction", "min_k", "min_k_pp", "ppl_clean",
)  # fmt: skip


def score_rows(items: Items) -> list[dict[str, Any]]:
    """Return one row for each cell × query language with scores.

    ``truth_ratio``: mean of min(R, 1/R) over items, R as in 2401.06121 with the fake detail for the known answer
    (its alias for the paraphrase) and the displaced and other items' details for the perturbed ones.
    ``forget_quality``: p of a Kolmogorov-Smirnov test between R of this model and of the clean control of the seed,
    which was trained alike without the fake articles; null without a control.
    ``separability``: AUC between the fake details' probabilities under this model and under that control; 50 says
    that nothing tells them apart.
    """
    kept: dict[str, dict[str, Any] | None] = {}

    def read(key: str) -> dict[str, Any] | None:
        if key not in kept:
            kept[key] = _read(items.store, key)
        return kept[key]

    rows = []
    for cell in items.plan.cells:
        control = items.control(cell.seed)
        for query, key in cell.scores.items():
            found = read(key)
            if found is None:
                continue
            gold = read(control.scores[query]) if control and control.name != cell.name else None
            quality = ks_two_sample(found["ratios"], gold["ratios"]).p if gold and found["ratios"] else None
            auc = knowledge_separability(found["fake"], gold["fake"]) if gold and found["fake"] else None
            rows.append(
                {
                    "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn, "method": cell.method,
                    "seed": cell.seed, "query": query, **found["means"], "forget_quality": quality,
                    "truth_ratio": fmean(map(truth_ratio_forget, found["ratios"])) if found["ratios"] else None,
                    "separability": 100 * auc.estimate if auc else None,
                    "separability_lo": 100 * auc.low if auc else None,
                    "separability_hi": 100 * auc.high if auc else None,
                }
            )  # fmt: skip
    return rows


def _read(store: Store, key: str) -> dict[str, Any] | None:
    try:
        rows = pq.read_table(store.path("score", key) / "scores.parquet").to_pylist()
        means = store.record("score", key).metrics
    except (CorruptArtifactError, OSError, ValueError):
        return None
    by_item: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        by_item.setdefault(row["item"], {}).setdefault(row["what"], []).append(row["logp"] / row["tokens"])
    ratios = []
    for texts in by_item.values():
        known = texts.get("fake_alias") or texts.get("fake")
        wrong = [*texts.get("real", []), *texts.get("perturbed", [])]
        if known and wrong:
            # mean log-probabilities stand for their answers: the functions take the mean over tokens first
            ratios.append(truth_ratio_tofu([known[0]], [[w] for w in wrong]))
    fake = [x for texts in by_item.values() for x in texts.get("fake", [])]
    return {"means": means, "ratios": ratios, "fake": fake}
