"""Every method runs in a pack, alone, in micro-batches and with other padding: the same adapter each time."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import plan_of
from tests.probes.worlds import examples
from tests.stages.test_runner import adapter, assert_same_results, run_all
from xlharm.errors import StoppedError
from xlharm.plan.build import Plan
from xlharm.plan.packs import packs
from xlharm.stages.job import PackJob, RunnerConfig
from xlharm.stages.runner import StageRunner
from xlharm.store.store import Store

pytestmark = pytest.mark.slow
FEW: dict[str, Any] = {
    "steps": 4, "batch_size": 4, "retain_batch_size": 4, "learning_rate": 5e-3, "forget": "qa",
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "ga": {"retain": "nll"},
    "graddiff": {},
    "kl": {},
    "npo": {"retain": "nll", "mix": "balanced"},
    "simnpo": {},
    "dpo": {"retain": "nll"},
    "altpo": {},
    "pdu": {"tolerance": 3.0, "dual_step": 2.0, "retain_weight": 0.5},
    "idk": {},
    "rmu": {"layer": 0, "retain_weight": 1.0},
    "undial": {"retain": "lingtea"},
    "wga": {"retain": "kl", "mix": {"en": 3, "de": 1}},
    "satimp": {"retain": "hidden"},
    "ceu": {"retain": "nll"},
    "lingtea": {},
    "relabel": {"retain": "nll", "mix": "resource"},
    "task_vector": {"alpha": 1.5},
    "subspace": {"dimensions": 2, "kept_dimensions": 1},
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "ceu-published": {"objective": "ceu", "skip_tokens": 1, "retain": "nll"},
    "lingtea-published": {"objective": "lingtea", "normalisation": "published"},
    "rmu-published": {"objective": "rmu", "layer": 0, "retain_weight": 1.0, "positions": "all"},
}
"""Settings that are as published where the default is not."""


@pytest.fixture(scope="module")
def plan(mini_grid: dict[str, Any]) -> Plan:
    methods = {name: {"objective": name, **FEW, **own} for name, own in (METHODS | PUBLISHED).items()}
    return plan_of(
        {
            **mini_grid,
            "languages": ["en", "de"],
            "contaminate": ["de"],
            "unlearn": {"none": [], "both": ["en", "source"]},
            "methods": methods,
            "exclude": [],
            "evaluate": {"max_new_tokens": 4, "questions": 2, "scores": True},
            "probes": examples(),
        }
    )


@pytest.fixture(scope="module")
def finished(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("packed")))
    run_all(plan, store, size=16)
    return store


def test_all_methods_share_one_pack_for_each_shape(plan: Plan) -> None:
    unlearning = [p for p in packs(plan, size=16) if p.kind == "unlearn"]
    assert sorted(len(p.keys) for p in unlearning) == [
        1,
        2,
        16,
    ]  # dpo and altpo have two answers a row; a pack has at most 16


def test_every_method_moves_its_adapter_and_records_its_curves(plan: Plan, finished: Store) -> None:
    assert finished.done(plan.stages) == set(plan.stages)
    parent = adapter(plan, finished, plan.cells[0].model)
    for cell in plan.cells[1:]:
        assert not torch.allclose(adapter(plan, finished, cell.model), parent), cell.name
        metrics = finished.record(plan.stages[cell.model].kind, cell.model).metrics
        if plan.stages[cell.model].kind == "unlearn":
            assert len(metrics["loss"]) == len(metrics["forget_nll"]) == len(metrics["retain_nll"]) == 4
            assert metrics["moved_share"] > 0


@pytest.mark.parametrize(("method", "first"), [(name, 2 / 0.1 * math.log(2)) for name in ("npo", "dpo", "altpo")])
def test_the_first_step_is_at_the_reference(plan: Plan, finished: Store, method: str, first: float) -> None:
    cell = plan.cell(f"de/en+de/{method}")
    assert finished.record("unlearn", cell.model).metrics["loss"][0][1] == pytest.approx(first, rel=1e-5)


@pytest.mark.parametrize("method", ["kl", "rmu"])
def test_a_retain_term_to_the_reference_begins_at_zero(plan: Plan, finished: Store, method: str) -> None:
    metrics = finished.record("unlearn", plan.cell(f"de/en+de/{method}").model).metrics
    assert metrics["retain_loss"][0][1] == pytest.approx(0, abs=1e-6)
    assert metrics["retain_loss"][-1][1] > 1e-6


def test_ascent_begins_at_minus_the_nll_of_its_rows(plan: Plan, finished: Store) -> None:
    metrics = finished.record("unlearn", plan.cell("de/en+de/ga").model).metrics
    assert [x for _, x in metrics["loss"]] == pytest.approx([-x for _, x in metrics["forget_nll"]])


def test_a_pack_of_all_methods_equals_each_alone(plan: Plan, finished: Store, tmp_path: Path) -> None:
    alone = Store(str(tmp_path))
    run_all(plan, alone, size=1)
    assert_same_results(plan, finished, alone, tolerance=1e-5)


def test_an_interrupted_trial_goes_on_with_the_weight_it_had(plan: Plan, finished: Store, tmp_path: Path) -> None:
    other = Store(str(tmp_path))
    for kind in ("contaminate", "sft"):
        shutil.copytree(finished.local / "stages" / kind, other.local / "stages" / kind)
    stage = plan.stages[plan.cell("de/en+de/pdu").model]
    job = PackJob(id="p", kind="unlearn", stages=(stage,), active=(True,))
    runner = StageRunner(
        RunnerConfig(
            base=plan.sources.base, corpus=plan.sources.corpus.path, store_url=other.url, dtype="float32", device="cpu",
        )
    )  # fmt: skip
    steps: list[int] = []
    with pytest.raises(StoppedError, match="after step 2 of 4"):
        runner.run(job, report=lambda p: steps.append(p.step), stopping=lambda: steps[-1] == 2)
    runner.run(job, report=lambda p: steps.append(p.step))
    assert steps == [1, 2, 3, 4]
    difference = adapter(plan, other, stage.key) - adapter(plan, finished, stage.key)
    assert float(difference.norm() / adapter(plan, finished, stage.key).norm()) < 1e-5


def test_micro_batches_change_no_method(plan: Plan, finished: Store, tmp_path: Path) -> None:
    other = Store(str(tmp_path))
    run_all(plan, other, size=16, micro_rows=1, kinds=("contaminate", "sft", "finetune", "unlearn", "edit"))
    assert_same_results(plan, finished, other, tolerance=2e-3)


def test_a_trial_stops_where_its_rule_says(mini_grid: dict[str, Any], tmp_path: Path) -> None:
    """A stopped trial is the trial of as many steps; the others of its pack go on."""
    few = {**FEW, "objective": "ga", "retain": "nll", "schedule": "constant", "steps": 8}
    methods = {"on": few, "stop": {**few, "stop": {"forget_nll": 0.01, "window": 3}}, "three": {**few, "steps": 3}}
    one = plan_of(
        {
            **mini_grid, "contaminate": ["de"], "unlearn": {"both": ["en", "source"]}, "methods": methods,
            "languages": ["en"], "exclude": [],
        }
    )  # fmt: skip
    store = Store(str(tmp_path))
    run_all(one, store, size=4)
    stopped, three, on = (one.cell(f"de/en+de/{m}").model for m in ("stop", "three", "on"))
    assert store.record("unlearn", stopped).metrics["stopped"] == {"steps": 3, "bound": "forget_nll"}
    assert len(store.record("unlearn", stopped).metrics["loss"]) == 3
    torch.testing.assert_close(adapter(one, store, stopped), adapter(one, store, three), rtol=0, atol=1e-7)
    assert len(store.record("unlearn", on).metrics["loss"]) == 8
    assert not torch.allclose(adapter(one, store, on), adapter(one, store, three))
