from pathlib import Path

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.origins import origins
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.store.record import Failure
from xlharm.store.store import Store


def test_every_finished_stage_is_told(plan: Plan, full: Store) -> None:
    rows = origins(GridResults(plan, full))
    assert len(rows.evaluations) == 81
    assert len(rows.training) == 12  # 3 contaminated, 3 tuned, 6 unlearned
    first = rows.training[0]
    assert (first.device, first.dtype, first.engine) == ("cpu", "float32", "DeepSpeed ZeRO 0")
    assert (first.commit, first.seconds) == ("0123456789", 12.0)
    assert rows.versions["torch"] == ("2.13.0",)
    assert rows.hardware == ("x86_64, 2 cores",)
    assert rows.waiting == 0
    assert rows.seconds == 12 * 12.0 + 81


def test_failures_and_damage_say_why(tmp_path: Path) -> None:
    plan, store = plan_of(languages=["en", "de"], contaminate=["de"]), Store(str(tmp_path))
    fill(plan, store, skip=("de/en/npo",), n=4)
    failed = plan.stages[plan.cell("de/en/npo/0").evaluations["en"]]
    failure = {"kind": "evaluate", "label": failed.label, "failed": "now"}
    store.write_failure(Failure(key=failed.key, reason="io", message="s3://k:s@h gone", final=False, **failure))
    (store.path("sft", plan.cells[0].lineage[1]) / "record.json").write_text("{}")
    rows = origins(GridResults(plan, store))
    assert rows.waiting == 3
    assert "record.json does not match the checksum in _SUCCESS" in rows.missing[0].reason
    assert rows.missing[1].reason == "io: s3://h gone"
