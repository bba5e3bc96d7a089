"""Results do not depend on how many ranks share a stage, nor on the ZeRO stage."""

import shutil
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import plan_of
from tests.invariance.ranks import run_ranks, server
from tests.stages.test_methods import FEW, METHODS
from tests.stages.test_runner import assert_same_results, run_all
from xlharm.store.store import Store

pytestmark = pytest.mark.slow
# Ranks sum in another order; three stages of Adam at a high rate amplify the last bit.
TOLERANCE = 1e-3
GRID: dict[str, Any] = {
    "languages": ["en", "de"], "contaminate": ["none", "de"], "unlearn": {"none": [], "both": ["en", "source"]},
    "exclude": [], "evaluate": {"max_new_tokens": 4, "questions": 2, "scores": True},
}  # fmt: skip


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> ForkServerContext:
    return server(tmp_path_factory.mktemp("no_programs"))


@pytest.fixture(scope="module")
def alone(mini_grid: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Results of one process, likelihoods included."""
    store = Store(str(tmp_path_factory.mktemp("alone")))
    run_all(plan_of({**mini_grid, **GRID}), store, size=4)
    return store


@pytest.mark.parametrize(
    ("world", "config"),
    [
        (2, {"zero": 2}),
        pytest.param(1, {"zero": 2}, marks=pytest.mark.heavy),
        (2, {"zero": 3}),
        pytest.param(1, {"offload": "optimizer"}, marks=pytest.mark.heavy),
        pytest.param(1, {"offload": "params"}, marks=pytest.mark.heavy),
        (1, {"offload": "both", "micro_rows": 1}),
        pytest.param(2, {"offload": "optimizer"}, marks=pytest.mark.heavy),
        pytest.param(2, {"offload": "both"}, marks=pytest.mark.heavy),
        pytest.param(2, {"zero": 0}, marks=pytest.mark.heavy),
        pytest.param(4, {"zero": 2}, marks=pytest.mark.heavy),
        pytest.param(4, {"zero": 3}, marks=pytest.mark.heavy),
    ],
    ids=str,
)
def test_ranks_zero_stages_and_offload_equal_one_process(
    alone: Store, mini_grid: dict[str, Any], tmp_path: Path, *, context: ForkServerContext, world: int,
    config: dict[str, Any],
) -> None:  # fmt: skip
    grid = {**mini_grid, **GRID}
    gang = run_ranks(grid, tmp_path, context=context, world=world, **config)
    assert_same_results(plan_of(grid), gang, alone, tolerance=TOLERANCE)


ODD = {"batch_size": 3}
ONE_AND_THREE = {"batch_size": 1, "retain_batch_size": 3}


@pytest.mark.parametrize(
    ("zero", "rows"),
    [pytest.param(2, ODD, marks=pytest.mark.heavy), (3, ODD), pytest.param(3, ONE_AND_THREE, marks=pytest.mark.heavy)],
    ids=str,
)
def test_every_method_trains_the_same_on_two_ranks(
    mini_grid: dict[str, Any], tmp_path: Path, context: ForkServerContext, zero: int, rows: dict[str, int]
) -> None:
    """Each rank sees half of every batch: an odd one, or one whose second rank has retain rows only, or none."""
    grid = {
        **mini_grid,
        "contaminate": ["de"],
        "languages": ["de"],
        "unlearn": {"both": ["en", "source"]},
        "methods": {name: {"objective": name, **FEW, **rows, **own} for name, own in METHODS.items()},
        "exclude": [],
        "evaluate": {"max_new_tokens": 2, "questions": 1},
    }
    plan = plan_of(grid)
    alone = Store(str(tmp_path / "alone"))
    run_all(plan, alone, size=4)
    gang = run_ranks(grid, tmp_path, context=context, world=2, zero=zero)
    assert_same_results(plan, gang, alone, tolerance=2e-3)


@pytest.mark.parametrize("config", [{"zero": 3}, pytest.param({"offload": "params"}, marks=pytest.mark.heavy)], ids=str)
def test_a_fresh_gang_that_only_evaluates_gives_the_same_answers(
    alone: Store, mini_grid: dict[str, Any], tmp_path: Path, context: ForkServerContext, config: dict[str, Any]
) -> None:
    """Nothing was trained in these processes, so nothing but the evaluation itself can have partitioned the base."""
    grid = {**mini_grid, **GRID}
    plan = plan_of(grid)
    for kind in ("contaminate", "sft", "unlearn"):
        shutil.copytree(alone.local / "stages" / kind, tmp_path / "store" / "stages" / kind)
    gang = run_ranks(grid, tmp_path, context=context, world=2, kinds=("evaluate", "score"), **config)
    assert gang.done(plan.stages) == set(plan.stages)
    assert_same_results(plan, gang, alone, tolerance=TOLERANCE)
