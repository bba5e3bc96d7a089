"""Real processes of Ray that end or stop: nothing waits without a word, and the same run finishes."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.engine.worlds import PLAN
from tests.faults.campaign.arena import Arena, with_role
from tests.faults.processes import drive, ending, environment, finished, session_of, until
from tests.faults.runners import trace

pytestmark = pytest.mark.cluster


def processes(driver: "subprocess.Popen[str]", name: str) -> list[int]:
    """Return the processes of this name in a driver's session."""
    return [pid for pid in session_of(driver) if Path(f"/proc/{pid}/comm").read_text().strip() == name]


def computed(store: Path) -> Counter[str]:
    return Counter(words[1] for words in trace(store, "computed"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store" / "orders").mkdir(parents=True)
    return tmp_path / "store"


@pytest.mark.heavy
@pytest.mark.parametrize("names", [("raylet",), ("gcs_server",)])
def test_our_own_cluster_is_started_again(store: Path, names: tuple[str, ...]) -> None:
    driver = drive(store, "Slow")
    with ending(driver):
        until(lambda: trace(store, "began sft"))
        before = computed(store)
        for pid in (pid for name in names for pid in processes(driver, name)):
            os.kill(pid, signal.SIGKILL)
        code, output = finished(driver)
    assert code == 0, output
    assert output.count("Ray has ended on this machine: starting it again") == 1
    assert before
    assert all(computed(store)[key] == 1 for key in before)  # what was finished is not run again
    assert computed(store).keys() == PLAN.stages.keys()


@pytest.mark.heavy
def test_another_cluster_is_joined_again_when_our_node_has_ended(store: Path, tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    with Arena(tmp_path / "orders", nodes=2, extra={}) as arena:
        (raylet,) = with_role("raylet", arena.pids_of_head())  # which drivers connect to
        driver = drive(store, "Slow", f'address="{arena.address}"', **arena.env)
        with ending(driver):
            until(lambda: trace(store, "began sft"))
            os.kill(raylet, signal.SIGKILL)
            code, output = finished(driver)
    assert code == 0, output
    assert output.count("joining the cluster again") == 1
    assert computed(store) == Counter(list(PLAN.stages))


# While it runs, the head is killed and another one starts at the same address.
JOINED = """
import sys, time
from xlharm.engine.ray.cluster import connected, prepare
from xlharm.engine.ray.health import ClusterWatch
prepare(sys.argv[1])
watch = ClusterWatch()
with connected(sys.argv[1], cpus=1, device="cpu") as cluster:
    print("joined", cluster.node_lives(), flush=True)
    sys.stdin.readline()
    with watch.noticing():
        print("alive", cluster.node_lives(), cluster.cpus(), flush=True)
print("failed", watch.failed, flush=True)
"""


@pytest.mark.heavy
def test_a_head_that_was_started_again_does_not_end_the_process(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    with Arena(tmp_path / "orders", nodes=1, extra={}) as arena:
        driver = subprocess.Popen(
            [sys.executable, "-c", JOINED, arena.address], env=environment(**arena.env), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        with ending(driver):
            assert driver.stdout
            assert driver.stdout.readline() == "joined True\n"
            (gcs,) = with_role("gcs", arena.pids_of_head())
            os.kill(gcs, signal.SIGKILL)
            until(lambda: not with_role("gcs", arena.pids_of_head()))
            until(lambda: arena.mend() or arena.can_be_joined())
            output, _ = driver.communicate("go on\n", timeout=120)
    assert (driver.returncode, output) == (0, "failed True\n")


@pytest.mark.heavy
def test_a_stopped_worker_is_named_and_its_pack_runs_elsewhere(store: Path) -> None:
    driver = drive(store, "Slow", "SILENT_SECONDS=2", "LONGEST_SILENCE=8")
    with ending(driver):
        until(lambda: trace(store, "began sft"))
        worker = int(trace(store, "began sft")[0][2])
        os.kill(worker, signal.SIGSTOP)
        code, output = finished(driver)
    assert code == 0, output
    assert f"worker-0 (process {worker} on " in output
    assert "worker-0 did not answer for 0 min: trying again" in output
    assert computed(store) == Counter(list(PLAN.stages))
