"""How many workers are wanted of a cluster that grows. Starts nothing."""

from collections import Counter
from dataclasses import dataclass, field
from unittest import mock

import pytest
from ray.exceptions import AuthenticationError, RayError, RpcError

from xlharm.engine.options import RunOptions
from xlharm.engine.placement import WorkerShape
from xlharm.engine.ray import executor as module
from xlharm.engine.ray.executor import RayExecutor, start
from xlharm.engine.ray.gang import Gang
from xlharm.engine.ray.health import ClusterWatch
from xlharm.engine.trouble import EngineError, Trouble
from xlharm.errors import UserError


@dataclass(frozen=True)
class Head:
    """A cluster that has only its head yet, which offers nothing."""

    local: bool = False

    def cpus(self) -> list[int]:
        return []

    def gpus(self) -> int:
        return 0


def choose(options: RunOptions, *, local: bool = False) -> WorkerShape:
    executor = RayExecutor.__new__(RayExecutor)
    executor._options, executor._cluster, executor._pack_count = options, Head(local), 100
    return executor._choose()


def test_workers_asked_for_on_gpus_are_waited_for() -> None:
    shape = choose(RunOptions(pack=8, workers=4, device="cuda"))
    assert (shape.workers, shape.gpus, shape.cpus, shape.device) == (4, 1, 0, "cuda")
    assert choose(RunOptions(pack=8, workers=2, ranks=2, device="cuda")).workers == 2


def test_without_a_number_or_a_cluster_it_stays_a_mistake() -> None:
    with pytest.raises(UserError, match="no GPU here"):
        choose(RunOptions(pack=8, device="cuda"))
    with pytest.raises(UserError, match="no GPU here"):
        choose(RunOptions(pack=8, workers=4, device="cuda"), local=True)


def test_a_worker_on_a_full_machine_is_started_again_later_each_time() -> None:
    executor = RayExecutor.__new__(RayExecutor)
    executor._evictions = Counter()
    full = Trouble(kind="memory_taken", message="full", lost=True)
    assert [executor._restart_delay("w", full, starting) for starting in (False, True, True)] == [5, 10, 20]
    assert executor._restart_delay("w", None, False) == 0
    assert executor._restart_delay("w", full, False) == 5
    assert executor._restart_delay("w", Trouble(kind="out_of_memory", message="too small"), True) == 300
    assert executor._restart_delay("w", Trouble(kind="error", message="no"), True) == 2


@dataclass
class Restarted:
    """A cluster whose head was started again: it answers, but refuses every call of who knew the old one."""

    error: RayError = field(default_factory=lambda: AuthenticationError("RPC error: WrongClusterID"))
    local: bool = False
    head: str = "10.0.0.1:6379"

    def head_answers(self) -> bool:
        return True

    def node_lives(self) -> bool:
        raise self.error


@pytest.mark.parametrize("error", [AuthenticationError("RPC error: WrongClusterID"), RpcError("unavailable")])
def test_a_run_joins_a_cluster_that_was_started_again(error: RayError, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = RayExecutor.__new__(RayExecutor)
    executor._cluster, executor._cluster_watch = Restarted(error), ClusterWatch(_last_look=-100.0)
    executor._worker_watch, executor._warm_pool = mock.Mock(notes=lambda *_, **__: []), None
    executor._gangs = {"worker-0": Gang(name="worker-0", actors=[], doing="running", pack="p")}
    executor._restart_times, executor._last_note = {}, 0.0
    new = mock.Mock(local=False)
    executor.connect = lambda: new
    assert executor.wait(timeout=0.0) == ()
    executor._cluster_watch._last_look = -100.0
    (reply,) = executor.wait(timeout=0.0)
    assert (reply.pack, reply.lost, reply.trouble and reply.trouble.kind) == ("p", True, "node_died")
    assert executor._cluster is new
    (line,) = executor.notes()
    assert "the Ray cluster that this run was connected to has ended: joining the cluster again" in line


def test_a_cluster_that_ends_while_a_run_begins_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "connected", mock.MagicMock())
    monkeypatch.setattr(module, "replace", lambda cluster, **_: cluster)
    monkeypatch.setattr(module, "RayExecutor", mock.Mock(side_effect=AuthenticationError("WrongClusterID")))
    with pytest.raises(EngineError, match="the Ray cluster ended while the run began"):
        start(mock.Mock(), mock.Mock(), RunOptions(pack=8))
