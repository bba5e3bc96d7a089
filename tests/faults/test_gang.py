"""A gang that really trains, and loses a rank in the middle of a stage."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import plan_of
from tests.faults.processes import drive, ending, verdict
from tests.faults.runners import trace
from tests.stages.test_runner import assert_same_results
from xlharm.store.store import Store

pytestmark = pytest.mark.cluster


@pytest.mark.heavy
@pytest.mark.parametrize("option", ["zero=3", 'offload="optimizer"'])
def test_kill_9_of_a_rank_goes_on_from_the_checkpoint_with_the_same_result(
    mini_grid: dict[str, Any], tmp_path: Path, option: str
) -> None:
    few = {"contaminate": ["de"], "unlearn": {"none": [], "en": ["en"]}, "exclude": []}
    grid = {**mini_grid, **few, "languages": ["en", "de"]}
    YAML(typ="safe").dump(grid, tmp_path / "grid.yaml")
    plan = plan_of(grid)
    stores = {name: tmp_path / name for name in ("calm", "killed")}
    for name, store in stores.items():
        (store / "orders").mkdir(parents=True)
        if name == "killed":
            (store / "orders" / "contaminate-1").write_text("4")
            (store / "orders" / "unlearn-0").write_text("2 damage")
        process = drive(store, "training:Saving", f'grid="{tmp_path}/grid.yaml"', "ranks=2", option)
        with ending(process):
            ended = verdict(process)
        assert (ended["done"], ended["exit"]) == (len(plan.stages), 0)
    # Rank 1 died in step 4, so three steps were saved; rank 0 died in step 2 of unlearning and its file is no good,
    # so both begin anew, although rank 1 could go on.
    steps = {kind: [int(w[2]) for w in trace(stores["killed"], f"{kind} 1")] for kind in ("contaminate", "unlearn")}
    assert steps["contaminate"] == [1, 2, 3, 4, 4, 5, 6]
    assert steps["unlearn"] in ([1, 2, 1, 2, 3, 4, 5, 6], [1, 1, 2, 3, 4, 5, 6])  # rank 1 may not have told step 2
    killed, calm = (Store(str(stores[name])) for name in ("killed", "calm"))
    assert_same_results(plan, killed, calm, tolerance=0.0)
    assert not list((killed.local / "partial").iterdir())
