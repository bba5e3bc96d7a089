"""The pace of real steps and answers on the mini base."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import plan_of
from xlharm.engine.options import RunOptions, worker_config
from xlharm.plan.packs import packs
from xlharm.stages.calibration import answers_of, steps_of
from xlharm.stages.context import Context
from xlharm.stages.job import PackJob
from xlharm.store.store import Store

pytestmark = pytest.mark.slow


def test_steps_and_answers_are_measured_and_nothing_is_stored(mini_grid: dict[str, Any], tmp_path: Path) -> None:
    plan, store = plan_of({**mini_grid, "dtype": "float32"}), Store(str(tmp_path / "store"))
    context = Context(worker_config(plan, store, RunOptions(pack=2), device="cpu", threads=1))
    assert "rows computed together: within" in context.compared
    jobs = {
        pack.kind: PackJob(
            id=pack.id, kind=pack.kind, stages=tuple(plan.stages[k] for k in pack.keys), active=(True,) * len(pack.keys)
        )
        for pack in packs(plan, size=2)
        if len(pack.keys) == 2
    }
    streams = [context.corpora.stream(stage) for stage in jobs["unlearn"].stages]
    rows = [row for stream in streams for row in stream.all_rows()]
    shortest, longest = (f(len(row.ids) for row in rows) for f in (min, max))

    steps = steps_of(context, jobs["unlearn"])  # its parents are not in the store: adapters are new
    assert steps.seconds > 0
    assert 2 * 8 * shortest <= steps.tokens <= 2 * 8 * longest  # two stages, 4 rows to forget and 4 to retain
    assert steps.peak == 0

    answers = answers_of(context, jobs["evaluate"])
    count = answers.new / (2 * 4)  # two models, 4 tokens each: no answer ends earlier
    assert count == int(count) >= 2
    assert answers.passes == 5
    assert answers.read > 2 * count
    assert answers.seconds > 0
    assert not store.done(plan.stages)
