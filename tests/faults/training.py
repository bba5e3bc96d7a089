"""A runner that really trains, saves its state after every step and dies on order."""

import os
from dataclasses import replace
from functools import partial

from xlharm.stages.job import PackJob, Progress, Report, RunnerConfig, StageResult
from xlharm.stages.runner import StageRunner
from xlharm.store.store import Store


class Saving(StageRunner):
    """The file ``orders/<kind>-<rank>`` beside the stages holds the step after which that rank is killed, once."""

    def __init__(self, config: RunnerConfig) -> None:
        super().__init__(replace(config, checkpoint_seconds=0.0))
        self._rank, self._folder = config.rank, Store(config.store_url).local

    def run(self, job: PackJob, *, report: Report) -> list[StageResult]:
        return super().run(job, report=partial(self._step, job, report))

    def _step(self, job: PackJob, report: Report, progress: Progress) -> None:
        report(progress)
        with (self._folder / "trace").open("a") as trace:
            trace.write(f"{job.kind} {self._rank} {progress.step}\n")
        order = self._folder / "orders" / f"{job.kind}-{self._rank}"
        if order.exists() and progress.step == int(order.read_text()):
            order.unlink()
            os.kill(os.getpid(), 9)
