"""What the driver needs of whatever runs packs, and what a worker needs of its runner. Nothing here knows of Ray."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from xlharm.engine.trouble import Trouble
from xlharm.plan.stage import Place
from xlharm.stages.job import PackJob, Progress, Report, RunnerConfig, StageResult

RUNNER = "xlharm.stages.runner:StageRunner"


class Runner(Protocol):
    """What runs a pack on a worker; see ``stages.runner``."""

    def room(self) -> int | None:
        """Return the bytes of this worker's device memory; None where it computes on the CPU."""
        ...

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool]) -> Sequence[StageResult]:
        """Run a pack; commit its finished stages."""
        ...


def load_runner(path: str, config: RunnerConfig) -> Runner:
    """Load a runner's class, given as ``module:name``, and with it torch; the base is read.

    Raises:
        UserError: the base cannot be loaded, or the device is not there.
    """
    module, _, name = path.partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)(config)
    return runner


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A worker speaks.

    Attributes:
        worker: its name.
        pack: the pack it had, or None when it failed to start.
        results: one for each active stage, when the pack went through.
        trouble: why it did not.
        lost: the worker's process is gone; another takes its name.
    """

    worker: str
    pack: str | None
    results: Sequence[StageResult] = ()
    trouble: Trouble | None = None
    lost: bool = False


class Executor(Protocol):
    """Runs packs on workers; every call returns at once but ``wait``."""

    def size(self) -> int:
        """Return how many workers with the base there are, ready or starting."""
        ...

    def expect(self, packs: int) -> None:
        """Say, before anything runs, how many packs with the base may run side by side later on."""
        ...

    def want(self, packs: Mapping[Place, int]) -> None:
        """Say how many packs run or could begin now, by place: no more workers are needed."""
        ...

    def notes(self) -> Sequence[str]:
        """Return what there is to say to people, once."""
        ...

    def held(self) -> float:
        """Return how many GPUs the workers hold now; on CPUs, how many processes they are."""
        ...

    def idle(self, place: Place) -> Sequence[str]:
        """Return the workers of a place that could take a pack now."""
        ...

    def rooms(self) -> Mapping[str, float]:
        """Return the bytes of device memory that workers may use; infinite for one that is still starting.

        Workers without a device are left out.
        """
        ...

    def submit(self, job: PackJob, *, worker: str) -> None:
        """Hand a pack to an idle worker."""
        ...

    def wait(self, *, timeout: float) -> Sequence[Reply]:
        """Return what workers said, after at most ``timeout`` seconds."""
        ...

    def progress(self) -> Mapping[str, Progress]:
        """Return how far the running packs are, by pack, as last heard."""
        ...

    def stop(self) -> None:
        """Ask running packs to save their state and end; start no worker from now on."""
        ...

    def close(self) -> None:
        """End every worker; running packs are lost."""
        ...
