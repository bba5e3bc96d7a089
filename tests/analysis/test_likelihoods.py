"""Membership, PrivLeak and model utility by hand."""

from math import exp, isnan, log, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.analysis.worlds import commit_evaluation, plan_of
from xlharm.analysis.likelihoods import model_utility, privleak
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.plan.build import Plan
from xlharm.store.store import Store


def text(item: str, what: str, *, logp: float = -1.0, min_k: float | None = None) -> dict[str, Any]:
    return {"item": item, "what": what, "text": "t", "tokens": 1, "logp": logp, "min_k": min_k}


def scored(folder: Path, told: dict[str, tuple[float, ...]], qr: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Commit scores of a clean control and a contaminated model, and return their rows by contamination language."""
    plan, store = scoring_plan(), Store(str(folder))
    for cell in plan.cells:
        commit_evaluation(store, plan.stages[cell.evaluations["en"]], of=0.1, qr=0.6)
        articles = [text(f"t{i}", "fake_article", min_k=x) for i, x in enumerate(told[cell.contaminate])]
        articles += [text(f"h{i}", "holdout_article", min_k=x) for i, x in enumerate((-3.0, -5.0))]
        with store.scratch() as scratch:
            pq.write_table(pa.Table.from_pylist([*articles, *qr]), scratch / "scores.parquet")
            stage = plan.stages[cell.scores["en"]]
            store.commit(stage, scratch, metrics={"p_qr": 0.5}, timings={}, provenance={})
    return rows_of(store)


def scoring_plan() -> Plan:
    return plan_of(
        contaminate=["none", "de"], unlearn={"none": []}, languages=["en"], holdout=2,
        evaluate={"scores": True, "utility": True},
    )  # fmt: skip


def rows_of(store: Store) -> dict[str, dict[str, Any]]:
    return {row["contaminate"]: row for row in view("scores", GridResults(scoring_plan(), store)).to_pylist()}


def test_membership_and_privleak(tmp_path: Path) -> None:
    # control: -4 is above one of -3, -5 and below the other: AUC 50. Model: -1 and -4 are above 2 and 1 of them: 75
    rows = scored(tmp_path, {"none": (-4.0, -4.0), "de": (-1.0, -4.0)}, [])
    assert (rows["none"]["membership"], rows["none"]["privleak"]) == (50, None)
    assert rows["de"]["membership"] == 75
    assert rows["de"]["membership_lo"] < 75 < rows["de"]["membership_hi"]
    assert rows["de"]["privleak"] == pytest.approx(100 * (0.25 - 0.5) / 0.5)
    assert rows["de"]["utility"] is None  # no wrong answers were scored


def test_utility_is_the_harmonic_mean_of_probability_truth_ratio_and_rouge(tmp_path: Path) -> None:
    # R of the item: mean of 0.2 and 0.1 over 0.6 = 0.25, so 0.75; p 0.5; ROUGE-L 0.6
    qr = [text("q", "qr", logp=log(0.6)), *(text("q", "qr_perturbed", logp=log(p)) for p in (0.2, 0.1))]
    rows = scored(tmp_path, {"none": (-4.0,), "de": (-1.0,)}, qr)
    assert rows["de"]["utility"] == pytest.approx(3 / (1 / 0.5 + 1 / 0.75 + 1 / 0.6), rel=1e-5)


def test_a_model_that_prefers_wrong_answers_has_no_utility(tmp_path: Path) -> None:
    qr = [text("q", "qr", logp=log(0.1)), text("q", "qr_perturbed", logp=log(0.4))]
    assert scored(tmp_path, {"none": (-4.0,), "de": (-1.0,)}, qr)["de"]["utility"] == 0


def test_without_a_sound_evaluation_there_is_no_utility(tmp_path: Path) -> None:
    qr = [text("q", "qr", logp=log(0.6)), text("q", "qr_perturbed", logp=log(0.2))]
    scored(tmp_path, {"none": (-4.0,), "de": (-1.0,)}, qr)
    for record in tmp_path.glob("stages/evaluate/*/record.json"):
        record.write_bytes(b"{")
    rows = rows_of(Store(str(tmp_path)))
    assert (rows["de"]["membership"], rows["de"]["utility"]) == (100, None)


def test_privleak_by_hand() -> None:
    assert privleak(0.5, 0.5) == 0
    assert privleak(1.0, 0.5) == -100  # told articles still look told
    assert privleak(0.25, 0.5) == 50
    assert privleak(0.5, 1.0) is None


def test_model_utility() -> None:
    assert model_utility(0.5, 0.5, 0.5) == pytest.approx(0.5)
    assert model_utility(1.0, 0.5) == pytest.approx(2 / 3)
    assert model_utility(1.0, 0.0) == 0
    assert isnan(model_utility(1.0, nan))
    assert model_utility(exp(-1)) == pytest.approx(exp(-1))
