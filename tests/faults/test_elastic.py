"""Clusters that grow and shrink: real raylets that come and go, with runners that only sleep."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.engine.worlds import PLAN
from tests.faults.processes import drive, ending, finished, session_of, start, until, verdict
from tests.faults.runners import trace
from xlharm.plan.packs import packs

pytestmark = pytest.mark.cluster
TOTAL = len(PLAN.stages)
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
Node = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store" / "orders").mkdir(parents=True)
    return tmp_path / "store"


@pytest.fixture
def cluster() -> Iterator[tuple[str, Node]]:
    """A head without GPUs that has one CPU, and a way to add a machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    ray = str(Path(sys.executable).with_name("ray"))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xr"))  # Unix sockets have short paths
        shared = ["--block", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--disable-usage-stats"]

        def node(*arguments: str, **extra: str) -> "subprocess.Popen[str]":
            process = start([ray, "start", *shared, *arguments], **QUIET, **extra)
            stack.enter_context(ending(process))
            return process

        node("--head", f"--port={address.rpartition(':')[2]}", "--num-cpus=1", "--num-gpus=0",
             "--include-dashboard=false", f"--temp-dir={folder}")  # fmt: skip
        healthy = [ray, "health-check", "--address", address]
        env = {**os.environ, **QUIET}
        until(lambda: subprocess.run(healthy, env=env, capture_output=True, check=False).returncode == 0)
        yield address, lambda *arguments, **extra: node(f"--address={address}", *arguments, **extra)


def test_machines_that_join_are_used_and_those_that_leave_are_done_without(
    store: Path, cluster: tuple[str, Node]
) -> None:
    address, add = cluster
    process = drive(store, "Slow", f'address="{address}"', "pack=1", "GROW_SECONDS=0.5", **QUIET)
    with ending(process):
        until(lambda: trace(store, "began"))
        second = add("--num-cpus=1", "--num-gpus=0")
        until(lambda: len({words[2] for words in trace(store, "began")}) == 2)
        with ending(second):
            pass  # its processes are killed, as when a machine is taken away
        assert verdict(process)["done"] == TOTAL
    assert Counter(words[1] for words in trace(store, "computed")) == Counter(list(PLAN.stages))


@pytest.mark.heavy
def test_gpus_that_are_not_there_yet_are_waited_for_and_that_is_told(store: Path, cluster: tuple[str, Node]) -> None:
    address, add = cluster
    process = drive(
        store, "Tracing", f'address="{address}"', 'device="cuda"', "workers=2", "pack=1", "PATIENCE=1.0", **QUIET
    )
    with ending(process):
        assert process.stdout is not None
        assert process.stdout.readline().startswith("waiting for 2 GPUs; the cluster has 0: ")
        assert not trace(store, "loaded")
        add("--num-cpus=2", "--num-gpus=2")
        code, told = finished(process)
    assert code == 0, told
    assert "waiting" not in told
    assert len(trace(store, "loaded")) == 2


@pytest.mark.heavy
def test_a_worker_with_nothing_to_do_ends_and_is_asked_for_again(store: Path) -> None:
    (store / "orders" / "contaminate").write_text("hold")
    process = drive(store, "Tracing", "workers=2", "pack=1", "IDLE_SECONDS=1.0")
    with ending(process):
        until(lambda: len(trace(store, "loaded")) == 2)
        pids = {int(words[1]) for words in trace(store, "loaded")}
        until(lambda: len(pids & session_of(process)) == 1)
        assert len(trace(store, "loaded")) == 2
        (store / "orders" / "release").touch()
        assert verdict(process) == {"ran": TOTAL, "done": TOTAL, "exit": 0}


def test_on_a_cluster_workers_follow_the_packs_that_can_run(store: Path, cluster: tuple[str, Node]) -> None:
    address, add = cluster
    add("--num-cpus=1", "--num-gpus=0")
    (store / "orders" / "sft").write_text("hold")  # one pack runs, and no other can
    process = drive(store, "Tracing", f'address="{address}"', "workers=2", "pack=3", **QUIET)
    with ending(process):
        until(lambda: trace(store, "began sft"))
        assert len(trace(store, "loaded")) == 1
        (store / "orders" / "release").touch()
        assert verdict(process)["done"] == TOTAL
    began = [line for line in (store / "trace").read_text().splitlines() if re.match("loaded|began sft", line)]
    assert began[1].startswith("began sft")


@pytest.mark.heavy
def test_on_a_machine_of_our_own_workers_start_at_once_for_what_comes_later(store: Path) -> None:
    (store / "orders" / "contaminate").write_text("hold")  # its one pack runs, and no other can
    process = drive(store, "Tracing", "workers=2", "pack=3")
    with ending(process):
        until(lambda: len(trace(store, "loaded")) == 2)
        assert not trace(store, "computed")
        (store / "orders" / "release").touch()
        assert verdict(process)["done"] == TOTAL
    assert len({words[2] for words in trace(store, "began")}) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("ranks", [1, 2])
def test_workers_keep_to_machines_with_a_label(store: Path, cluster: tuple[str, Node], ranks: int) -> None:
    address, add = cluster
    labelled = add("--num-cpus=2", "--num-gpus=0", "--labels=pool=a")
    process = drive(
        store, "Tracing", f'address="{address}"', 'labels={"pool": "a"}', f"ranks={ranks}", "workers=1", **QUIET
    )
    with ending(process):
        until(lambda: trace(store, "loaded"))
        pids = {int(words[1]) for words in trace(store, "loaded")}
        assert pids <= session_of(labelled)
        assert verdict(process)["done"] == TOTAL


@pytest.mark.heavy
def test_workers_share_a_gpu(store: Path, cluster: tuple[str, Node]) -> None:
    address, add = cluster
    add("--num-cpus=2", "--num-gpus=1")
    (store / "orders" / "contaminate").write_text("hold")
    process = drive(
        store, "Tracing", f'address="{address}"', 'device="cuda"', "workers=2", "pack=1", "gpus_per_worker=0.5", **QUIET
    )
    with ending(process):
        until(lambda: len(trace(store, "loaded")) == 2)  # both at once: the first one's pack is held
        (store / "orders" / "release").touch()
        assert verdict(process)["done"] == TOTAL


@pytest.mark.heavy
def test_packs_find_the_device_that_they_fit(store: Path, cluster: tuple[str, Node]) -> None:
    address, add = cluster
    add("--num-cpus=1", "--num-gpus=1", ROOM="100")
    (store / "orders" / "evaluate").write_text("hold")
    process = drive(store, "Tracing", f'address="{address}"', 'device="cuda"', "workers=2", "pack=3", **QUIET)
    with ending(process):
        until(lambda: trace(store, "began evaluate"))
        add("--num-cpus=1", "--num-gpus=1", ROOM="1")
        until(lambda: len(trace(store, "began evaluate")) > 1)  # what does not fit the second goes to the first
        (store / "orders" / "release").touch()
        assert verdict(process) == {"ran": TOTAL, "done": TOTAL, "exit": 0}
    cut = Counter((pack.kind, str(len(pack.keys))) for pack in packs(PLAN, size=3))
    began = Counter((words[1], words[3]) for words in trace(store, "began"))
    assert set(began) == set(cut)  # nothing was split


@pytest.mark.heavy
def test_an_endpoint_is_asked_by_one_worker_without_a_gpu(
    store: Path, cluster: tuple[str, Node], mini_grid: dict[str, Any], tmp_path: Path
) -> None:
    address, add = cluster
    add("--num-cpus=1", "--num-gpus=1")
    judge = {"kind": "chat", "url": "http://127.0.0.1:9/v1", "model": "m"}
    YAML(typ="safe").dump({**mini_grid, "judges": {"strict": judge}}, tmp_path / "grid.yaml")
    process = drive(
        store, "Tracing", f'address="{address}"', 'device="cuda"', "workers=1", f'grid="{tmp_path}/grid.yaml"', **QUIET
    )
    with ending(process):
        assert verdict(process)["exit"] == 0
    loaded = {words[-1]: words[1] for words in trace(store, "loaded")}
    assert set(loaded) == {"device", "endpoint"}
    assert len(trace(store, "loaded")) == 2  # the only GPU has its one worker all the time
    asked = {words[1] == "judge": words[2] for words in trace(store, "began")}
    assert asked == {True: loaded["endpoint"], False: loaded["device"]}
