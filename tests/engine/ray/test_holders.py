"""Who holds what is waited for, as far as the cluster says it."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.util.state

from tests.faults.processes import environment
from xlharm.engine.ray.holders import holders


def actor(job: str, name: str, pid: int, **needs: float) -> SimpleNamespace:
    return SimpleNamespace(job_id=job, class_name=name, pid=pid, required_resources=needs or None)


def told(monkeypatch: pytest.MonkeyPatch, actors: Any, free: Any) -> str:
    def answer(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    monkeypatch.setattr("xlharm.engine.ray.holders.require_same_head", lambda: None)
    monkeypatch.setattr(ray, "available_resources", lambda: answer(free))
    monkeypatch.setattr(ray.util.state, "list_actors", lambda **_: answer(actors))
    return holders("CPU", job="01", total=16.0)


def test_the_largest_holders_of_other_jobs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    actors = [
        actor("01", "Worker", 1, CPU=4.0),  # our own
        actor("02", "Worker", 2, CPU=8.0),
        actor("03", "Trainer", 3, CPU=2.0),
        actor("03", "Idle", 4),
        actor("03", "OnGpu", 5, GPU=1.0),
    ]
    assert told(monkeypatch, actors, {"CPU": 2.0}) == (
        "2 of 16 are free; held: 8 by a worker of another xlharm run (job 02, process 2), "
        "2 by actor Trainer (job 03, process 3)"
    )


def test_without_a_dashboard_only_what_is_free_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, ConnectionError("no dashboard"), {}) == "0 of 16 are free"


def test_a_cluster_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, [], RuntimeError("gone")) == ""


# A detached group outlives its job, as one does that Ray has placed anew after the job's end.
HOLDING = """
import sys, ray
from ray.util.placement_group import placement_group
ray.init(address=sys.argv[1], namespace="xlharm", logging_level="ERROR")
for name in ("xlharm-gang-ended", "of another program"):
    assert placement_group([{"CPU": 1}] * 2, name=name, lifetime="detached").wait(60)
"""
WAITING = """
import json, subprocess, sys, time, ray
from ray.util.placement_group import placement_group, placement_group_table
from xlharm.engine.ray.holders import remove_abandoned
ray.init(address="local", namespace="xlharm", num_cpus=6, include_dashboard=False, logging_level="ERROR")
assert placement_group([{"CPU": 1}] * 2, name="xlharm-gang-living").wait(60)
subprocess.run([sys.executable, "-c", sys.argv[1], ray.get_runtime_context().gcs_address], check=True)
end, counts = time.monotonic() + 60, []
while not sum(counts) and time.monotonic() < end:  # Ray notices the driver's end a little later
    counts.append(remove_abandoned())
    time.sleep(0.2)
while ray.available_resources().get("CPU", 0) < 2 and time.monotonic() < end:
    time.sleep(0.2)
counts.append(remove_abandoned())
print(json.dumps([sum(counts), sorted(g["name"] for g in placement_group_table().values() if g["state"] == "CREATED")]))
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_only_groups_of_ours_whose_driver_has_ended_are_removed() -> None:
    env = environment(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")
    ended = subprocess.run(
        [sys.executable, "-c", WAITING, HOLDING], env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == [1, ["of another program", "xlharm-gang-living"]]
