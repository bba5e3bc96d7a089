"""Who holds what is waited for, as far as the cluster says it."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.util.state

from xlharm.engine.ray.holders import holders


def actor(job: str, name: str, pid: int, **needs: float) -> SimpleNamespace:
    return SimpleNamespace(job_id=job, class_name=name, pid=pid, required_resources=needs or None)


def told(monkeypatch: pytest.MonkeyPatch, actors: Any, free: Any) -> str:
    def answer(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

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
