"""The same driver with the caller itself for a worker."""

from pathlib import Path

import pytest

from tests.engine.worlds import PLAN
from tests.faults.runners import Tracing, trace
from xlharm.engine.executor import Runner
from xlharm.engine.in_process import InProcess
from xlharm.engine.options import RunOptions
from xlharm.engine.run import RunOutcome, run_grid
from xlharm.errors import UserError
from xlharm.stages.job import RunnerConfig
from xlharm.store.store import Store


class Quick(Tracing):
    seconds = 0.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "orders").mkdir()
    return Store(str(tmp_path))


class Caller:
    """Makes a new runner whenever it is asked for one."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def run(self) -> RunOutcome:
        return run_grid(
            PLAN, self.store, RunOptions(pack=3), on_progress=lambda snapshot: None,
            start_executor=lambda *_: InProcess(self.runner),
        )  # fmt: skip

    def runner(self) -> Runner:
        base = PLAN.sources.base
        return Quick(RunnerConfig(base=base, corpus=Path(), store_url=self.store.url, dtype="float32", device="cpu"))


def test_a_plan_is_run_once_on_one_runner(store: Store) -> None:
    caller = Caller(store)
    for what, order in (("contaminate", "oom"), ("sft", "bug"), ("unlearn", "corrupt")):
        (store.local / "orders" / what).write_text(order)
    outcome = caller.run()
    assert (outcome.done, outcome.exit_code) == (len(PLAN.stages), 0)
    assert len(trace(store.local, "loaded")) == 1
    assert caller.run().ran == 0
    assert Caller(store).run().exit_code == 0
    assert len(trace(store.local, "loaded")) == 1  # nothing was missing: nothing was loaded


def test_a_base_that_does_not_load_is_the_users(store: Store) -> None:
    (store.local / "orders" / "start").write_text("user")
    with pytest.raises(UserError, match="no such base"):
        Caller(store).run()
    assert not list((store.local / "leases").iterdir())
