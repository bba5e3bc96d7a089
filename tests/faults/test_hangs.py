"""Real processes of Ray that end or stop: nothing waits without a word, and the same run finishes."""

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.engine.worlds import PLAN
from tests.faults.campaign.arena import Arena, with_role
from tests.faults.processes import drive, ending, finished, session_of, until
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
