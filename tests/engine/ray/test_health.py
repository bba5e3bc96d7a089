"""What is said of clusters and workers that do not answer. Starts nothing, waits for nothing."""

from dataclasses import dataclass, field

import pytest
from ray.exceptions import AuthenticationError

from xlharm.engine.ray.health import (
    CHECK_SECONDS,
    HEAD_SECONDS,
    RESTARTS,
    SILENT_SECONDS,
    SLOW_START,
    ClusterWatch,
    WorkerWatch,
)
from xlharm.engine.trouble import EngineError


@dataclass
class FakeCluster:
    local: bool = True
    answers: bool = True
    nodes: bool = True
    head: str = "10.0.0.1:6379"
    looks: list[str] = field(default_factory=list)

    def head_answers(self) -> bool:
        self.looks.append("head")
        return self.answers

    def node_lives(self) -> bool:
        self.looks.append("nodes")
        return self.nodes


@dataclass
class FakeWorker:
    name: str = "worker-0"
    where: str = "process 7 on 10.0.0.3"
    seconds: float = 0.0
    loads: float = 0.0

    def silence(self, *, now: float) -> float:
        return self.seconds

    def loading(self, *, now: float) -> float:
        return self.loads


def test_our_own_cluster_is_started_again_when_its_head_or_its_node_has_ended() -> None:
    for cluster in (FakeCluster(answers=False), FakeCluster(nodes=False)):
        watch = ClusterWatch(_last_look=0.0)
        assert watch.has_ended(cluster, now=10.0)
        assert watch.notes == ["Ray has ended on this machine: starting it again; packs that ran are tried again"]
        assert cluster.looks == (["head"] if not cluster.answers else ["head", "nodes"])


def test_another_cluster_is_joined_again_when_this_runs_node_has_ended() -> None:
    cluster, watch = FakeCluster(local=False, nodes=False), ClusterWatch(_last_look=0.0)
    assert watch.has_ended(cluster, now=10.0)
    (line,) = watch.notes
    assert line.startswith("the node of the Ray cluster that this run was connected to has ended: joining the cluster")
    cluster.answers = False  # then nothing else can be known
    assert not watch.has_ended(cluster, now=20.0)
    cluster.answers, cluster.nodes = True, True
    assert not watch.has_ended(cluster, now=30.0)


@pytest.mark.parametrize("local", [True, False])
def test_a_cluster_that_refuses_this_process_has_ended_although_its_head_answers(local: bool) -> None:
    cluster, watch = FakeCluster(local=local), ClusterWatch(_last_look=0.0)
    with watch.noticing():
        raise AuthenticationError("RPC error: WrongClusterID: Perhaps the client is accessing GCS after it restarted")
    assert watch.has_ended(cluster, now=10.0)
    (line,) = watch.notes
    assert line.startswith(
        "Ray has ended on this machine"
        if local
        else "the Ray cluster that this run was connected to has ended: joining"
    )
    assert not watch.has_ended(cluster, now=20.0)


def test_a_cluster_that_refused_this_process_is_joined_again_when_its_head_answers() -> None:
    cluster, watch = FakeCluster(local=False, answers=False), ClusterWatch(_last_look=0.0, failed=True)
    assert not watch.has_ended(cluster, now=10.0)
    cluster.answers = True
    assert watch.has_ended(cluster, now=20.0)


def test_a_cluster_is_looked_at_every_few_seconds_only() -> None:
    cluster, watch = FakeCluster(), ClusterWatch(_last_look=0.0)
    assert not any(watch.has_ended(cluster, now=CHECK_SECONDS * share) for share in (0.5, 0.9, 1.0, 1.5))
    assert cluster.looks == ["head", "nodes"]


def test_a_cluster_whose_node_ends_again_and_again_is_not_taken_for_this_machine() -> None:
    cluster, watch = FakeCluster(local=False, nodes=False), ClusterWatch(_last_look=0.0)
    for i in range(RESTARTS):
        assert watch.has_ended(cluster, now=10.0 * (i + 1))
    with pytest.raises(EngineError, match=r"the node of the Ray cluster .* has ended 6 times without finishing a pack"):
        watch.has_ended(cluster, now=2000.0)


def test_restarts_without_work_end_the_run_and_work_resets_them() -> None:
    cluster, watch = FakeCluster(nodes=False), ClusterWatch(_last_look=0.0)
    for i in range(RESTARTS):
        assert watch.has_ended(cluster, now=10.0 * (i + 1))
    watch.pack_ended()
    for i in range(RESTARTS):
        assert watch.has_ended(cluster, now=1000 + 10.0 * i)
    with pytest.raises(EngineError, match="Ray on this machine has ended 6 times"):
        watch.has_ended(cluster, now=2000.0)


def test_the_head_of_a_foreign_cluster_is_waited_for_with_one_line_and_a_limit() -> None:
    cluster, watch = FakeCluster(local=False, answers=False), ClusterWatch(_last_look=0.0)
    for now in (10.0, 20.0, 30.0):
        assert not watch.has_ended(cluster, now=now)
    assert watch.silent
    cluster.answers = True
    assert not watch.has_ended(cluster, now=40.0)
    assert [line.partition(")")[2][:18] for line in watch.notes] == [" does not answer: ", " answers again"]
    cluster.answers = False
    assert not watch.has_ended(cluster, now=50.0)
    with pytest.raises(EngineError, match=r"head \(10.0.0.1:6379\) has not answered for 45 s; .* same command again"):
        watch.has_ended(cluster, now=50.0 + HEAD_SECONDS)


def test_a_silent_worker_is_reported_once_with_its_process() -> None:
    worker, watch = FakeWorker(seconds=SILENT_SECONDS), WorkerWatch()
    (line,) = watch.notes([worker], now=0.0)
    assert line.startswith("worker-0 (process 7 on 10.0.0.3) has not answered for 30 s: it may be stopped (kill -CONT)")
    worker.seconds += 10
    assert watch.notes([worker], now=0.0) == []
    worker.seconds = 0.0
    assert watch.notes([worker], now=0.0) == ["worker-0 answers again"]
    assert watch.notes([worker], now=0.0) == []


def test_a_base_that_loads_for_minutes_is_reported_once() -> None:
    worker, watch = FakeWorker(loads=SLOW_START), WorkerWatch()
    assert watch.notes([worker], now=0.0) == ["worker-0 (process 7 on 10.0.0.3) has been loading the base for 5 min"]
    assert watch.notes([worker], now=0.0) == []
