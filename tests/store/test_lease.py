"""A stage's lease has one living holder, on a folder and on S3."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.s3 import S3
from xlharm.store.lease import BEAT_SECONDS, STALE_SECONDS, Leases
from xlharm.store.process import machine, start_of
from xlharm.store.store import Store

KEY = "0123456789abcdef" * 4
Later = Callable[[str, float], None]


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    request.getfixturevalue("s3")
    return Store("s3://bucket/store")


@pytest.fixture
def aged(store: Store, request: pytest.FixtureRequest) -> Later:
    """Make a file older by the store's clock."""

    def change(name: str, seconds: float) -> None:
        if store.remote:
            stored = request.getfixturevalue("s3").objects[f"store/{name}"]
            stored.last_modified -= dt.timedelta(seconds=seconds)
        else:
            before = (store.local / name).stat().st_mtime
            os.utime(store.local / name, (before - seconds, before - seconds))

    return change


def elsewhere(store: Store, token: str, *, name: str = f"leases/{KEY[:16]}") -> None:
    """A driver of another machine takes a lease."""
    owner = json.dumps({"machine": "elsewhere", "pid": 1, "start": "1", "token": token})
    assert store.create(f"leases/driver-{token}", owner)
    assert store.create(name, owner)


def test_a_lease_has_one_holder(store: Store) -> None:
    with Leases(store) as one, Leases(store) as other:
        assert not one.trouble
        assert one.claim(KEY)
        assert one.claim(KEY)
        assert not other.claim(KEY)
        assert other.running() == {KEY[:16]}
        one.release(KEY)
        assert other.running() == set()
        assert other.claim(KEY)
    assert store.listing("leases") == {}
    with Leases(store) as later:
        assert later.claim(KEY)


HOLD = "import sys, time; from xlharm.store.store import Store; from xlharm.store.lease import Leases\n"
HOLD += "with Leases(Store(sys.argv[1])) as l: print(l.claim(sys.argv[2]), flush=True); time.sleep(60)"


def test_the_lease_of_a_killed_process_is_taken_over_at_once(store: Store) -> None:
    command = [sys.executable, "-c", HOLD, store.url, KEY]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline().strip() == "True"
    with Leases(store) as leases:
        assert not leases.claim(KEY)
        os.kill(holder.pid, signal.SIGKILL)
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it ends, and its parent never asks
        assert leases.running() == set()
        assert leases.claim(KEY)
        assert leases.running() == {KEY[:16]}
    holder.wait()


def test_a_stopped_driver_keeps_its_lease_as_long_as_its_heartbeat_counts(store: Store, aged: Later) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        os.kill(sleeper.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
        owner = {"machine": machine(), "pid": sleeper.pid, "start": start_of(sleeper.pid), "token": "abc"}
        assert store.create("leases/driver-abc", json.dumps(owner))
        assert store.create(f"leases/{KEY[:16]}", json.dumps(owner))
        with Leases(store) as leases:
            assert not leases.claim(KEY)
            aged("leases/driver-abc", STALE_SECONDS + 5)
            os.kill(sleeper.pid, signal.SIGCONT)
            os.waitid(os.P_PID, sleeper.pid, os.WCONTINUED | os.WNOWAIT)
            assert not leases.claim(KEY)  # it goes on, and beats again soon
            os.kill(sleeper.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
            assert leases.claim(KEY)
    finally:
        sleeper.kill()
        sleeper.wait()


def test_the_lease_of_another_machine_goes_stale_with_its_heartbeat(store: Store, aged: Later) -> None:
    elsewhere(store, "t")
    aged(f"leases/{KEY[:16]}", 3 * STALE_SECONDS)  # a long stage: only the heartbeat counts
    with Leases(store) as leases:
        assert not leases.claim(KEY)
        aged("leases/driver-t", STALE_SECONDS + 2)
        assert leases.claim(KEY)
        leases.release(KEY)
        assert set(store.listing("leases")) == {"leases/driver-t", f"leases/driver-{leases._token}"}


def test_of_those_who_find_a_stale_lease_one_takes_it_over(store: Store, aged: Later) -> None:
    elsewhere(store, "t")
    elsewhere(store, "u", name=f"leases/{KEY[:16]}-t")  # took it over, and is gone, too
    for token in "tu":
        aged(f"leases/driver-{token}", STALE_SECONDS + 2)
    drivers = [Leases(store) for _ in range(6)]
    start, got = threading.Barrier(len(drivers)), []

    def claim(leases: Leases) -> None:
        start.wait()
        got.append(leases.claim(KEY))

    threads = [threading.Thread(target=claim, args=(leases,)) for leases in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 5 + [True]


def test_names_of_leases_do_not_grow(store: Store, aged: Later) -> None:
    name, names = f"leases/{KEY[:16]}", []
    takeovers = 6
    for i in range(takeovers):
        elsewhere(store, f"{i:012}", name=name)
        aged(f"leases/driver-{i:012}", STALE_SECONDS + 2)
        names.append(name)
        with Leases(store) as leases:
            assert leases.claim(KEY)
            (name,) = set(leases._held[KEY]) - set(names)
            store.remove(name)
            leases._held.clear()  # killed: it releases nothing
    assert max(map(len, names)) == len(f"leases/{KEY[:16]}-") + 12
    assert len(set(names)) == takeovers


def test_a_damaged_lease_counts_for_some_seconds(store: Store, aged: Later) -> None:
    assert store.create(f"leases/{KEY[:16]}", "{")
    with Leases(store) as leases:
        assert not leases.claim(KEY)
        aged(f"leases/{KEY[:16]}", BEAT_SECONDS + 2)
        assert leases.claim(KEY)


def test_a_lease_whose_answer_was_lost_is_ours(store: Store) -> None:
    with Leases(store) as leases:
        assert store.create(f"leases/{KEY[:16]}", leases._owner)
        assert leases.claim(KEY)


@pytest.mark.parametrize("conditional", ["terse", "refuse", "ignore"])
def test_a_server_without_conditional_writes_has_no_leases_and_says_so(s3: S3, conditional: str) -> None:
    s3.conditional = conditional
    with Leases(Store("s3://bucket/store")) as one, Leases(Store("s3://bucket/store")) as other:
        assert one.claim(KEY)
        assert other.claim(KEY) == (conditional != "terse")
        assert bool(one.trouble) == (conditional != "terse")
        assert "\n" not in one.trouble
        assert ("not implemented" in one.trouble) == (conditional == "refuse")
