"""The interfaces between driver, executor and runner. Nothing here depends on Ray."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from xlharm.engine.trouble import Trouble
from xlharm.plan.stage import Place
from xlharm.stages.job import PackJob, Progress, Report, RunnerConfig, StageResult

RUNNER = "xlharm.stages.runner:StageRunner"


class Runner(Protocol):
    """Runs packs inside a worker; see ``stages.runner``."""

    def room(self) -> int | None:
        """Return the bytes of this worker's device memory; None when it computes on the CPU."""
        ...

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool]) -> Sequence[StageResult]:
        """Run a pack, and commit each stage as it is finished; return one result for each active stage."""
        ...


def load_runner(path: str, config: RunnerConfig) -> Runner:
    """Import a runner's class, given as ``module:name``, and make one: this loads torch and the base model.

    Raises:
        UserError: the base cannot be loaded, or there is no such device.
    """
    module, _, name = path.partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)(config)
    return runner


@dataclass(frozen=True, kw_only=True)
class WorkerReply:
    """A worker's reply about a pack, or about its failure to start.

    Attributes:
        worker: the worker's name.
        pack: the pack's id; None when the worker failed to start.
        results: one for each active stage, when the pack ended without trouble.
        trouble: why the pack or the start failed.
        lost: whether the worker's process has ended; a new worker may get the same name.
    """

    worker: str
    pack: str | None
    results: Sequence[StageResult] = ()
    trouble: Trouble | None = None
    lost: bool = False


class Executor(Protocol):
    """Runs packs on workers. Only ``wait`` blocks; the other calls return at once."""

    def size(self) -> int:
        """Return the number of workers that have loaded the base."""
        ...

    def expect(self, packs: int) -> None:
        """Announce, before the run, how many packs on the base will run at the same time at most."""
        ...

    def want(self, packs: Mapping[Place, int]) -> None:
        """Set how many packs run or could start now, by place: more workers than that are not needed."""
        ...

    def notes(self) -> Sequence[str]:
        """Return new messages for the user; each is returned once."""
        ...

    def held(self) -> float:
        """Return how many GPUs the workers hold now; without GPUs, the number of worker processes."""
        ...

    def idle(self, place: Place) -> Sequence[str]:
        """Return the names of the workers of a place that could take a pack now."""
        ...

    def rooms(self) -> Mapping[str, float]:
        """Return the bytes of device memory by worker; infinite for a worker that is still starting.

        Workers without a device are left out.
        """
        ...

    def submit(self, job: PackJob, *, worker: str) -> None:
        """Hand a pack to an idle worker."""
        ...

    def wait(self, *, timeout: float) -> Sequence[WorkerReply]:
        """Return the workers' new replies; wait at most ``timeout`` seconds for the first."""
        ...

    def progress(self) -> Mapping[str, Progress]:
        """Return the last reported progress of the running packs, by pack."""
        ...

    def stop(self) -> None:
        """Ask running packs to save their state and end; start no more workers."""
        ...

    def close(self) -> None:
        """End every worker; packs that are still running are lost."""
        ...
