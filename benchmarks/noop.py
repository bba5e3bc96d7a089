"""A runner whose stages only commit a small file, so that the time of a run is that of engine and store."""

import time
from collections.abc import Callable

from xlharm.stages.job import PackJob, Report, RunnerConfig, StageResult
from xlharm.store.store import Store


class Noop:
    """Commits one small file for each stage."""

    def __init__(self, config: RunnerConfig) -> None:
        self.store = Store(config.store_url)

    def room(self) -> int | None:
        """Return None: there is no device."""
        return None

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool]) -> list[StageResult]:  # noqa: ARG002 - a runner's form
        """Commit the active stages; their results give the seconds of the commit."""
        results = []
        for stage in (s for s, on in zip(job.stages, job.active, strict=True) if on):
            began = time.perf_counter()
            with self.store.scratch() as folder:
                (folder / "result.txt").write_text(stage.key)
                self.store.commit(stage, folder, metrics={}, timings={"pack": 0.0, "share": 0.0}, provenance={})
            results.append(StageResult(key=stage.key, ok=True, seconds=time.perf_counter() - began, tokens=1))
        return results
