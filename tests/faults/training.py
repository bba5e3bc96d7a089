"""A runner that really trains, saves its state after every step, and dies on order."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from xlharm.stages.job import PackJob, Progress, Report, RunnerConfig, StageResult
from xlharm.stages.runner import StageRunner
from xlharm.store.store import Store


class Saving(StageRunner):
    """The file ``orders/<kind>-<rank>`` beside the stages holds the step after which that rank is killed, once.

    With `damage` behind the step its checkpoints are cut short first. Only rank 0's clock ever says to save.
    """

    def __init__(self, config: RunnerConfig) -> None:
        super().__init__(replace(config, checkpoint_seconds=1e9 if config.rank else 0.0))
        self._rank, self._folder = config.rank, Store(config.store_url).local

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool]) -> list[StageResult]:
        return super().run(job, report=partial(self._step, job, report), stopping=stopping)

    def _step(self, job: PackJob, report: Report, progress: Progress) -> None:
        report(progress)
        with (self._folder / "trace").open("a") as trace:
            trace.write(f"{job.kind} {self._rank} {progress.step}\n")
        order = self._folder / "orders" / f"{job.kind}-{self._rank}"
        step, *damage = order.read_text().split() if order.exists() else [""]
        if step == str(progress.step):
            order.unlink()
            for path in self._folder.glob(f"partial/*/*-rank{self._rank}.*.safetensors") if damage else ():
                path.write_bytes(path.read_bytes()[:-100])
            os.kill(os.getpid(), 9)
