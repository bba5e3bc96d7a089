"""A run can be watched from its store while it goes on, and leaves nothing behind."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.worlds import PLAN, FakeExecutor, run
from xlharm.engine.live import LiveRun, live_runs
from xlharm.stages.job import PackJob
from xlharm.store import live
from xlharm.store.lease import Leases
from xlharm.store.store import Store


def test_a_run_is_seen_from_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOCAL_SECONDS", 0.01)
    store, seen = Store(str(tmp_path / "store")), []

    def look(job: PackJob) -> Any:
        for _ in range(200):
            runs = live_runs(Store(store.url, writes=False))
            if runs and runs[0].packs:
                seen.extend(runs)
                return
            live.threading.Event().wait(0.01)

    assert run(store, FakeExecutor(store, look)).exit_code == 0
    first = seen[0]
    assert (first.grid, first.total, first.workers) == (PLAN.grid.name, len(PLAN.stages), 2)
    assert first.packs[0].worker in {"w0", "w1"}
    known = {key[:16] for key in PLAN.stages}
    assert all(pack.keys and set(pack.keys) <= known for one in seen for pack in one.packs)
    assert {one.done for one in seen} != {0}
    assert live_runs(store) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"grid": "g"}', "null"])
def test_what_is_no_run_is_left_out(tmp_path: Path, text: str) -> None:
    store = Store(str(tmp_path / "store"))
    with Leases(store) as leases:
        store.write_text(f"live/{leases.token}.json", text)
        assert live_runs(store) == []


def test_numbers_that_are_none_are_refused() -> None:
    fields = dict.fromkeys(LiveRun.model_fields, 0) | {"grid": "g", "machine": "m", "packs": (), "messages": ()}
    assert LiveRun.model_validate(fields).done == 0
    for wrong in ({"done": -1}, {"eta": float("nan")}):
        with pytest.raises(ValueError, match="validation error"):
            LiveRun.model_validate({**fields, **wrong})
