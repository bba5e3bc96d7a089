"""Probes that look inside, on a whole grid in one process: their tables agree with the grid's own evaluations."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.conftest import plan_of
from tests.stages.test_runner import run_all
from xlharm.analysis.results import GridResults
from xlharm.evaluate.inspecting import Inspecting
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.probes.patch import Patch
from xlharm.stages.job import OutOfMemoryError, PackJob, RunnerConfig
from xlharm.stages.runner import StageRunner
from xlharm.store.store import Store

pytestmark = pytest.mark.slow
PROBES: dict[str, Any] = {
    "parts": {"kind": "ablate", "by": ["layer", "component"], "components": 4},
    "patched": {"kind": "patch"},
    "alike": {"kind": "cka"},
    "clean": {
        "kind": "continue", "times": [0, 1], "steps": 3, "batch_size": 4, "learning_rate": 5e-3, "queries": ["en"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mini_grid: dict[str, Any]) -> tuple[Plan, Store]:
    grid = {
        **mini_grid, "languages": ["en", "de"], "contaminate": ["none", "de"], "unlearn": {"none": [], "en": ["en"]},
        "exclude": [{"contaminate": "none", "unlearn": "en"}], "evaluate": {"max_new_tokens": 4, "scores": True},
        "probes": PROBES,
    }  # fmt: skip
    plan, store = plan_of(grid), Store(str(tmp_path_factory.mktemp("inside")))
    run_all(plan, store, size=4)
    assert store.done(plan.stages) == set(plan.stages)
    return plan, store


def inside(world: tuple[Plan, Store], cell: Cell, probe: str, query: str) -> list[dict[str, Any]]:
    table = GridResults(*world).rows(cell.probes[probe][query])
    assert table is not None
    return list(table.to_pylist())


def test_with_nothing_switched_off_answers_are_the_cells_own(world: tuple[Plan, Store]) -> None:
    plan, store = world
    for cell in plan.cells:
        for query, key in cell.evaluations.items():
            own = pq.read_table(store.path("evaluate", key) / "rows.parquet").to_pylist()
            as_it_is = [row for row in inside(world, cell, "parts", query) if row["by"] == "none"]
            assert [(r["item"], r["measure"], r["hit"], r["degenerate"]) for r in as_it_is] == [
                (r["item"], r["measure"], r["hit"], r["degenerate"]) for r in own
            ]


def test_with_everything_switched_off_all_cells_are_the_same_base(world: tuple[Plan, Store]) -> None:
    for query in ("en", "de"):
        bases = [[row for row in inside(world, cell, "parts", query) if row["by"] == "all"] for cell in world[0].cells]
        assert all(base == bases[0] and base for base in bases)


def test_unpatched_log_probabilities_are_those_of_the_score_stages(world: tuple[Plan, Store]) -> None:
    plan, store = world
    cell = plan.cell("de/en/npo/0")
    for name, scored in (("after", cell), ("before", plan.cell("de/none/none/0"))):
        rows = pq.read_table(store.path("score", scored.scores["de"]) / "scores.parquet").to_pylist()
        fake = {row["item"]: row["logp"] for row in rows if row["what"] == "fake"}
        plain = [r for r in inside(world, cell, "patched", "de") if (r["into"], r["layer"]) == (name, None)]
        assert {r["item"]: r["logp"] for r in plain} == pytest.approx(fake, abs=1e-4)


def test_the_control_is_what_is_put_in_at_the_last_layer(world: tuple[Plan, Store]) -> None:
    plan, store = world
    control = plan.cell("none/none/none/0")
    rows = pq.read_table(store.path("score", control.scores["de"]) / "scores.parquet").to_pylist()
    fake = {row["item"]: row["logp"] for row in rows if row["what"] == "fake"}
    patched = inside(world, plan.cell("de/en/npo/0"), "patched", "de")
    last = {r["item"]: r["logp"] for r in patched if (r["into"], r["source"], r["layer"]) == ("before", "control", 1)}
    assert last == pytest.approx(fake, abs=1e-4)


def test_no_clean_training_is_the_cell_itself(world: tuple[Plan, Store]) -> None:
    for cell in world[0].cells:
        assert cell.probes["clean:0x"]["en"] == cell.evaluations["en"]
        assert cell.probes["clean:1x"]["en"] != cell.evaluations["en"]


def test_one_stage_compares_all_languages(world: tuple[Plan, Store]) -> None:
    for cell in world[0].cells:
        rows = inside(world, cell, "alike", "en+de")
        assert [(r["language"], r["other"], r["layer"]) for r in rows] == [("en", "de", 0), ("en", "de", 1)]
        assert all(0 <= r["cka"] <= 1 for r in rows)


def test_models_alone_give_what_they_give_in_packs(world: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = world
    other = Store(str(tmp_path))
    shutil.copytree(store.local / "stages", other.local / "stages", ignore=shutil.ignore_patterns("inspect"))
    run_all(plan, other, size=1, kinds=("inspect",))
    for stage in (s for s in plan.stages.values() if s.kind == "inspect"):
        one, two = (pq.read_table(s.path("inspect", stage.key) / "inside.parquet") for s in (store, other))
        if stage.spec["probe"]["kind"] == "ablate":
            assert one.equals(two)
        for column in ("logp", "cka", "debiased"):
            if column in one.column_names:
                assert one[column].to_pylist() == pytest.approx(two[column].to_pylist(), rel=1e-4)


def test_a_probe_that_does_not_fit_takes_fewer_slots(
    world: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = world
    other = Store(str(tmp_path))
    shutil.copytree(store.local / "stages", other.local / "stages", ignore=shutil.ignore_patterns("inspect"))
    whole, tried = Patch.table, []

    def table(probe: Patch, inspecting: Inspecting) -> pa.Table:
        tried.append(inspecting.slots)
        if inspecting.slots > fits:
            raise torch.OutOfMemoryError("too many")
        return whole(probe, inspecting)

    monkeypatch.setattr(Patch, "table", table)
    key = plan.cell("de/en/npo/0").probes["patched"]["de"]
    stage, fits = plan.stages[key], 2
    config = RunnerConfig(
        base=plan.sources.base, corpus=plan.sources.corpus.path, store_url=other.url, dtype="float32", device="cpu",
        slots=8,
    )  # fmt: skip
    runner, job = StageRunner(config), PackJob(id="p", kind="inspect", stages=(stage,), active=(True,))
    assert runner.run(job, report=lambda _: None)[0].ok
    assert tried == [8, 4, 2]
    fits = 0
    with pytest.raises(OutOfMemoryError):
        runner.run(job, report=lambda _: None)
