"""How many workers are wanted of a cluster that grows. Starts nothing."""

from collections import Counter
from dataclasses import dataclass

import pytest

from xlharm.engine.options import RunOptions
from xlharm.engine.placement import WorkerShape
from xlharm.engine.ray.executor import RayExecutor
from xlharm.engine.trouble import Trouble
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
