"""What lies in a store."""

import json
from pathlib import Path

import pytest

from tests.engine.worlds import PLAN, commit
from xlharm.engine.catalog import entries, measured, records, set_damage_aside
from xlharm.errors import UserError
from xlharm.plan.stage import Stage
from xlharm.plan.timing import UNKNOWN_BASE, Clock, Speed
from xlharm.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    for stage in PLAN.stages.values():
        if stage.kind != "unlearn":
            commit(store, stage)
    return store


def test_entries_and_records(store: Store) -> None:
    names = {e.name for e in entries(store)}
    assert names == {k[:16] for k, s in PLAN.stages.items() if s.kind != "unlearn"}
    assert {r.key for r in records(store, "sft")} == {k for k, s in PLAN.stages.items() if s.kind == "sft"}
    assert list(records(store, "unlearn")) == []


def test_times_are_measured_where_there_are_any(store: Store) -> None:
    class Twice(Clock):
        def uncorrected(self, stage: Stage, *, slots: int) -> float:
            return 0.25

    clock = Twice(sizes=UNKNOWN_BASE, texts={}, speed=Speed.of("cpu"))
    assert measured(store, PLAN, clock).factors == {"contaminate": 2.0, "sft": 2.0, "evaluate": 2.0}


def test_damage(store: Store) -> None:
    done = store.done(PLAN.stages)
    assert set_damage_aside(store, PLAN) == (done, [])
    keys = sorted(k for k in done if PLAN.stages[k].kind == "evaluate")[:3]
    folders = [store.local / "stages" / "evaluate" / k[:16] for k in keys]
    (folders[0] / "result.txt").unlink()
    (folders[1] / "record.json").write_text("not json")
    (folders[2] / "result.txt").write_text("x" * (folders[2] / "result.txt").stat().st_size)
    assert len(list(records(store, "evaluate"))) == len([k for k in done if PLAN.stages[k].kind == "evaluate"]) - 1
    again = Store(store.url)
    sound, lines = set_damage_aside(again, PLAN)
    assert len(lines) == 3
    assert again.done(PLAN.stages) == sound == {k for k, s in PLAN.stages.items() if s.kind != "unlearn"} - set(keys)


def test_stages_of_another_version_stop_a_run_before_it_begins(store: Store) -> None:
    done = store.done(PLAN.stages)
    key = next(iter(done))
    folder = store.local / "stages" / PLAN.stages[key].kind / key[:16]
    record = json.loads((folder / "record.json").read_text())
    del record["format"]
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "_SUCCESS").write_text("")
    with pytest.raises(
        UserError, match=r"1 finished stages were stored by another version .*store check --store .* --repair"
    ):
        set_damage_aside(store, PLAN)
    assert folder.exists()
