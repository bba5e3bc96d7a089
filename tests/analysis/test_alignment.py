"""CKA in the view: values as stored, changes against the model before, intervals by the jackknife."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.analysis.worlds import PROVENANCE, plan_of
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.store.store import Store

WITHOUT = [0.1, 0.2, 0.3, 0.2]


def row(value: float, without: list[float], **fields: Any) -> dict[str, Any]:
    return {
        "layer": 0, "language": "en", "other": "de", "items": list("abcd"), "cka": value, "cka_without": without,
        "debiased": value / 2, "debiased_without": [x / 2 for x in without], **fields,
    }  # fmt: skip


def found(tmp_path: Path, before: dict[str, Any], after: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    plan = plan_of(
        contaminate=["de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "de"],
        probes={"alike": {"kind": "cka"}},
    )  # fmt: skip
    store = Store(str(tmp_path))
    for cell, stored in zip(plan.cells, (before, after), strict=True):
        with store.scratch() as folder:
            pq.write_table(pa.Table.from_pylist([stored]), folder / "inside.parquet")
            stage = plan.stages[cell.probes["alike"]["en+de"]]
            store.commit(stage, folder, metrics={"rows": 1}, timings={"pack": 1.0}, provenance=PROVENANCE)
    rows = view("attribution", GridResults(plan, store)).to_pylist()
    return {(r["unlearn"], r["measure"]): r for r in rows}


def test_values_changes_and_intervals(tmp_path: Path) -> None:
    rows = found(tmp_path, row(0.2, WITHOUT), row(0.5, [x + 0.3 for x in WITHOUT]))
    assert set(rows) == {
        *((u, m) for u in ("none", "en") for m in ("cka", "cka_debiased")),
        ("en", "cka_change"), ("en", "cka_debiased_change"),
    }  # fmt: skip
    own = rows["en", "cka"]
    spread = 1.959964 * np.sqrt(3 / 4 * 0.02)
    assert (own["value"], own["low"], own["high"]) == pytest.approx((0.5, 0.5 - spread, 0.5 + spread), rel=1e-5)
    assert (own["query"], own["other"], own["by"], own["part"], own["items"]) == ("en", "de", "layer", "0", 4)
    change = rows["en", "cka_change"]
    # every item moves both alike: the change is certain
    assert (change["value"], change["low"], change["high"]) == pytest.approx((0.3, 0.3, 0.3))
    assert rows["en", "cka_debiased_change"]["value"] == pytest.approx(0.15)


def test_other_items_are_no_pair_and_a_state_that_does_not_vary_has_no_value(tmp_path: Path) -> None:
    others = found(tmp_path / "a", row(0.2, WITHOUT, items=list("abce")), row(0.5, WITHOUT))
    assert ("en", "cka_change") not in others
    still = found(tmp_path / "b", row(float("nan"), [float("nan")] * 4), row(0.5, WITHOUT))
    assert set(still) == {("en", "cka"), ("en", "cka_debiased")}
