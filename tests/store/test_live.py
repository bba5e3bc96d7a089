"""What a driver says is there while it lives, is replaced, and is gone or found when it has ended."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.processes import until
from xlharm.store import live
from xlharm.store.lease import Leases
from xlharm.store.leftovers import leftovers
from xlharm.store.live import LiveFile, ended, live_texts
from xlharm.store.process import machine
from xlharm.store.store import Store


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOCAL_SECONDS", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_the_last_word_is_there_while_the_driver_lives(store: Store) -> None:
    with Leases(store) as leases, LiveFile(store, leases.token) as file:
        file.say("one")
        until(lambda: live_texts(store) == {leases.token: "one"})
        file.say("two")
        until(lambda: live_texts(store) == {leases.token: "two"})
        assert ended(store) == []
    assert live_texts(store) == {}
    assert list(store.listing("live")) == []


def test_what_a_dead_driver_left_is_no_run_and_is_swept(store: Store) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    owner = {"machine": machine(), "pid": process.pid, "start": "1", "token": "gone"}
    store.write_text("leases/driver-gone", json.dumps(owner))
    store.write_text("live/gone.json", "{}")
    store.write_text("live/never.json", "{}")
    assert live_texts(store) == {}
    assert {"live/gone.json", "live/never.json", "leases/driver-gone"} <= set(leftovers(store))


def test_a_store_that_cannot_be_written_delays_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def slow(*_: object, **__: object) -> None:
        tried.append(time.monotonic())
        raise OSError("no")

    with Leases(store) as leases:
        monkeypatch.setattr(Store, "put", slow)
        with LiveFile(store, leases.token) as file:
            file.say("one")
            until(lambda: bool(tried))
            file.say("two")
            until(lambda: len(tried) > 1)


def test_a_store_that_is_only_read_can_be_watched(store: Store) -> None:
    with Leases(store) as leases, LiveFile(store, leases.token) as file:
        file.say("one")
        until(lambda: bool(list(store.listing("live"))))
        before = {name: (store.local / name).stat().st_mtime_ns for name in store.listing("leases")}
        assert live_texts(Store(store.url, writes=False)) == {leases.token: "one"}
        assert {name: (store.local / name).stat().st_mtime_ns for name in store.listing("leases")} == before
