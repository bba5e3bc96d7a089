"""Real Ray processes and real signals, with runners that only sleep."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.engine.worlds import PLAN
from tests.faults.processes import drive, ending, finished, session_of, until, verdict
from tests.faults.runners import trace
from tests.s3 import S3
from xlharm.store.store import Store

pytestmark = pytest.mark.cluster
TOTAL = len(PLAN.stages)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store" / "orders").mkdir(parents=True)
    return tmp_path / "store"


def order(store: Path, **orders: str) -> None:
    for name, what in orders.items():
        (store / "orders" / name.replace("_", "-")).write_text(what)


def computed(store: Path) -> Counter[str]:
    return Counter(words[1] for words in trace(store, "computed"))


def test_two_workers_do_it_all_and_leave_nothing_behind(store: Path, tmp_path: Path) -> None:
    process = drive(store, "Tracing", "workers=2", "pack=1", HOME=str(tmp_path))
    with ending(process):
        assert verdict(process) == {"ran": TOTAL, "done": TOTAL, "exit": 0}
        until(lambda: not session_of(process))
    assert computed(store) == Counter(list(PLAN.stages))
    assert len({words[2] for words in trace(store, "began")}) == 2
    assert not (tmp_path / ".ray").exists()  # a token there would lock people out of clusters they start by hand


@pytest.mark.heavy
def test_every_passing_trouble_in_one_run(store: Path) -> None:
    order(store, contaminate="oom", sft="crash", unlearn="corrupt", evaluate="bug")
    process = drive(store)
    with ending(process):
        output = verdict(process)
    assert (output["done"], output["exit"]) == (TOTAL, 0)
    again = [k for k, n in computed(store).items() if n > 1]
    assert len(again) == 1  # only the damaged one
    assert PLAN.stages[again[0]].kind == "sft"
    assert len(list((store / "corrupt").iterdir())) == 1
    assert {int(words[3]) for words in trace(store, "began") if words[1] == "contaminate"} == {3, 2, 1}


def test_kill_9_of_a_worker_in_the_middle_of_a_pack(store: Path) -> None:
    process = drive(store, "Slow")
    with ending(process):
        until(lambda: trace(store, "began sft"))
        os.kill(int(trace(store, "began sft")[0][2]), signal.SIGKILL)
        assert verdict(process) == {"ran": TOTAL, "done": TOTAL, "exit": 0}
    assert len(trace(store, "loaded")) == 2
    assert computed(store) == Counter(list(PLAN.stages))


def test_kill_9_of_the_driver_then_the_same_command(store: Path) -> None:
    first = drive(store, "Slow")
    with ending(first):
        until(lambda: trace(store, "began unlearn"))
        os.kill(first.pid, signal.SIGKILL)
        worker = int(trace(store, "began unlearn")[0][2])
        until(lambda: worker not in session_of(first), timeout=20)
        before = computed(store)
        second = drive(store)
        with ending(second):
            output = verdict(second)
    assert output == {"ran": TOTAL - len(before), "done": TOTAL, "exit": 0}
    assert computed(store) == Counter(list(PLAN.stages))


@pytest.mark.heavy
def test_kill_9_of_the_driver_leaves_nothing_behind(store: Path) -> None:
    process = drive(store, "Slow")
    with ending(process):
        until(lambda: trace(store, "began sft"))
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not session_of(process), timeout=90)  # Ray's agents notice last


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.heavy), signal.SIGTERM])
def test_a_signal_ends_everything_in_order(store: Path, number: signal.Signals) -> None:
    process = drive(store, "Slow")
    with ending(process):
        until(lambda: trace(store, "began sft"))
        os.killpg(process.pid, number)  # as a terminal does: the whole group
        output = verdict(process)
        assert output["exit"] == 130
        assert 0 < output["done"] < TOTAL
        until(lambda: not session_of(process))
    assert not list((store / "leases").iterdir())
    assert len(trace(store, "loaded")) == 1
    # SIGTERM may end Ray's workers before the driver has asked them to save
    assert len(trace(store, "stopped")) == 1 or number == signal.SIGTERM


def test_two_drivers_on_one_store_do_each_stage_once(store: Path) -> None:
    first, second = drive(store), drive(store)
    with ending(first, second):
        outputs = [verdict(first), verdict(second)]
    assert [t["exit"] for t in outputs] == [0, 0]
    assert sum(t["ran"] for t in outputs) == TOTAL
    assert computed(store) == Counter(list(PLAN.stages))


@pytest.mark.heavy
def test_two_drivers_on_one_bucket_do_each_stage_once(s3: S3) -> None:
    url = "s3://bucket/store"
    first, second = drive(url), drive(url)
    with ending(first, second):
        outputs = [verdict(first), verdict(second)]
    assert [t["exit"] for t in outputs] == [0, 0]
    assert sum(t["ran"] for t in outputs) == TOTAL
    assert computed(Store(url).local) == Counter(list(PLAN.stages))
    assert not [name for name in s3.objects if name.startswith("store/leases/")]


def test_a_gang_lives_and_dies_as_one(store: Path) -> None:
    order(store, unlearn_1="crash")
    process = drive(store, "Tracing", "ranks=2")
    with ending(process):
        ended = verdict(process)
    # rank 0 may have committed its pack before the gang died with rank 1: done is what counts
    assert (ended["done"], ended["exit"]) == (TOTAL, 0)
    loaded = trace(store, "loaded")
    assert sorted(words[3] for words in loaded) == ["0", "0", "1", "1"]
    assert {words[5] for words in loaded} == {"2"}
    meetings = Counter(words[7] for words in loaded)
    assert sorted(meetings.values()) == [2, 2]  # a new gang meets at a new place
    assert computed(store) == Counter(list(PLAN.stages))


@pytest.mark.heavy
def test_a_full_disk_is_one_line(store: Path) -> None:
    order(store, sft="full")
    process = drive(store)
    with ending(process):
        code, told = finished(process)
    assert code != 0
    assert "No space left on device" in told.splitlines()[-1]
    assert set(computed(store)) == {k for k, s in PLAN.stages.items() if s.kind == "contaminate"}


@pytest.mark.heavy
def test_a_base_that_does_not_load_is_one_line(store: Path) -> None:
    order(store, start="user")
    process = drive(store)
    with ending(process):
        code, told = finished(process)
    assert code != 0
    assert told.splitlines()[-1].endswith("UserError: no such base")
