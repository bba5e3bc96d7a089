"""Results do not depend on how many ranks share a stage, nor on the ZeRO stage."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import plan_of
from tests.stages.test_methods import FEW, METHODS
from tests.stages.test_runner import assert_same_results, run_all
from xlharm.store.store import Store

# Ranks sum in another order; three stages of Adam at a high rate amplify the last bit.
TOLERANCE = 1e-3


def run_ranks(grid: dict[str, Any], folder: Path, *, world: int, kinds: tuple[str, ...] = (), **config: Any) -> Store:
    path = folder / "grid.yaml"
    YAML(typ="safe").dump(grid, path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{probe.getsockname()[1]}"
    script = str(Path(__file__).parent / "ranks.py")
    store = str(folder / "store")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
        "PATH": str(folder),  # no compiler: nothing may need one
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(path), store, str(rank), str(world), master, json.dumps(config), *kinds],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    for process in ranks:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out[-3000:]
    return Store(store)


@pytest.mark.parametrize(("world", "zero"), [(2, 2), (1, 2), (2, 3)])
def test_ranks_and_zero_stages_equal_one_process(
    mini_grid: dict[str, Any], tmp_path: Path, world: int, zero: int
) -> None:
    plan = plan_of(mini_grid)
    alone = Store(str(tmp_path / "alone"))
    run_all(plan, alone, size=4)
    gang = run_ranks(mini_grid, tmp_path, world=world, zero=zero)
    assert_same_results(plan, gang, alone, tolerance=TOLERANCE)


ODD = {"batch_size": 3}
ONE_AND_THREE = {"batch_size": 1, "retain_batch_size": 3}


@pytest.mark.parametrize(("zero", "rows"), [(2, ODD), (3, ODD), (3, ONE_AND_THREE)], ids=str)
def test_every_method_trains_the_same_on_two_ranks(
    mini_grid: dict[str, Any], tmp_path: Path, zero: int, rows: dict[str, int]
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
    gang = run_ranks(grid, tmp_path, world=2, zero=zero)
    assert_same_results(plan, gang, alone, tolerance=2e-3)


SCORED = {"evaluate": {"max_new_tokens": 4, "scores": True}, "contaminate": ["none", "de"]}


@pytest.fixture(scope="module")
def scored(mini_grid: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Results of one process, likelihoods included."""
    store = Store(str(tmp_path_factory.mktemp("scored")))
    run_all(plan_of({**mini_grid, **SCORED}), store, size=4)
    return store


@pytest.mark.parametrize(
    ("world", "config"),
    [
        (1, {"offload": "optimizer"}),
        (1, {"offload": "params"}),
        (1, {"offload": "both", "micro_rows": 1}),
        (2, {"offload": "optimizer"}),
        (2, {"offload": "both"}),
        (2, {"zero": 0}),
        pytest.param(4, {"zero": 2}, marks=pytest.mark.heavy),
        pytest.param(4, {"zero": 3}, marks=pytest.mark.heavy),
    ],
    ids=str,
)
def test_offload_and_more_ranks_equal_one_process(
    scored: Store, mini_grid: dict[str, Any], tmp_path: Path, world: int, config: dict[str, Any]
) -> None:
    grid = {**mini_grid, **SCORED}
    gang = run_ranks(grid, tmp_path, world=world, **config)
    assert_same_results(plan_of(grid), gang, scored, tolerance=TOLERANCE)


@pytest.mark.parametrize("config", [{"zero": 3}, {"offload": "params"}], ids=str)
def test_a_fresh_gang_that_only_evaluates_gives_the_same_answers(
    scored: Store, mini_grid: dict[str, Any], tmp_path: Path, config: dict[str, Any]
) -> None:
    """Nothing was trained in these processes, so nothing but the evaluation itself can have partitioned the base."""
    plan = plan_of({**mini_grid, **SCORED})
    for kind in ("contaminate", "sft", "unlearn"):
        shutil.copytree(scored.local / "stages" / kind, tmp_path / "store" / "stages" / kind)
    gang = run_ranks({**mini_grid, **SCORED}, tmp_path, world=2, kinds=("evaluate", "score"), **config)
    assert gang.done(plan.stages) == set(plan.stages)
    assert_same_results(plan, gang, scored, tolerance=TOLERANCE)
