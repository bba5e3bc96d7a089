"""Packs in this very process, one after another: for whoever is a worker already."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from xlharm.engine.executor import Reply
from xlharm.engine.trouble import trouble_of
from xlharm.plan.stage import Place
from xlharm.stages.job import PackJob, Progress, Report, StageResult

_NAME = "this process"


class Runner(Protocol):
    """What runs a pack; see ``stages.runner``."""

    def run(self, job: PackJob, *, report: Report) -> Sequence[StageResult]:
        """Run a pack; commit its finished stages."""
        ...


class InProcess:
    """An ``Executor`` of one worker, which is the caller.

    Args:
        runner: returns the runner, with its base loaded; called when the first pack is to run.
    """

    def __init__(self, runner: Callable[[], Runner]) -> None:
        self._runner = runner
        self._job: PackJob | None = None

    def size(self) -> int:
        """Return one."""
        return 1

    def expect(self, packs: int) -> None:
        """Take no notice: there is always one worker."""

    def want(self, packs: Mapping[Place, int]) -> None:
        """Take no notice: there is always one worker."""

    def notes(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def held(self) -> float:
        """Return one."""
        return 1.0

    def idle(self, place: Place) -> Sequence[str]:  # noqa: ARG002 - it takes what there is
        """Return this process, unless it has a pack."""
        return () if self._job else (_NAME,)

    def rooms(self) -> Mapping[str, float]:
        """Return nothing: there is no other device to choose."""
        return {}

    def submit(self, job: PackJob, *, worker: str) -> None:  # noqa: ARG002 - there is only one
        """Take a pack; ``wait`` runs it."""
        self._job = job

    def wait(self, *, timeout: float) -> Sequence[Reply]:
        """Run the pack that was handed in, however long it takes.

        Raises:
            UserError: the base cannot be loaded.
        """
        job, self._job = self._job, None
        if job is None:
            time.sleep(timeout)
            return ()
        runner = self._runner()
        try:
            return (Reply(worker=_NAME, pack=job.id, results=runner.run(job, report=_unheard)),)
        except Exception as error:  # noqa: BLE001 - all of it is classified for the driver
            return (Reply(worker=_NAME, pack=job.id, trouble=trouble_of(error)),)

    def progress(self) -> Mapping[str, Progress]:
        """Return nothing: nobody can ask while a pack runs."""
        return {}

    def stop(self) -> None:
        """Do nothing: no pack runs when this is called."""

    def close(self) -> None:
        """Leave the runner to its owner."""


def _unheard(progress: Progress) -> None:
    pass
