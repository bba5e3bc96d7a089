"""An executor without processes: ``wait`` computes one of the submitted packs, chosen at random."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.plan.worlds import grid_of, plan_of
from xlharm.engine.executor import WorkerReply
from xlharm.engine.options import RunOptions
from xlharm.engine.progress import Snapshot
from xlharm.engine.run import RunOutcome, run_grid
from xlharm.engine.trouble import Trouble
from xlharm.plan.build import Plan
from xlharm.plan.stage import Place, Stage
from xlharm.stages.job import PackJob, Progress, StageResult
from xlharm.store.store import Store

PLAN = plan_of(
    grid_of(
        languages=["en", "ur"],
        contaminate=["none", "de", "ur"],
        unlearn={"none": [], "en": ["en"], "both": ["en", "source"]},
        exclude=[{"contaminate": "none", "unlearn": "en"}],
    )
)
COUNTS: dict[str, Any] = {
    **{name: {"hits": 1, "n": 4} for name in ("of", "qr", "off_language", "degenerate", "refusal")},
    **{name: {"mean": 0.5, "n": 4} for name in ("rouge_l", "chrf")},
}
"""Metrics of an evaluation."""
Behaviour = Callable[[PackJob], "Sequence[StageResult] | Trouble"]


def commit(store: Store, stage: Stage, *, seconds: float = 0.5) -> None:
    """Store a made-up result, the same each time."""
    with store.scratch() as folder:
        (folder / "result.txt").write_text(f"result of {stage.key}")
        metrics = COUNTS if stage.kind == "evaluate" else {}
        store.commit(stage, folder, metrics=metrics, timings={"pack": 2 * seconds, "share": seconds}, provenance={})


class FakeExecutor:
    """Workers whose replies a script decides.

    Args:
        store: where results go.
        script: called before each pack is computed; it returns the worker's answer, or None for success.
    """

    def __init__(self, store: Store, script: Callable[[PackJob], Any] = lambda job: None, *, workers: int = 2) -> None:
        self.store = store
        self.script = script
        self.jobs: dict[str, PackJob] = {}
        self.names = [f"w{i}" for i in range(workers)]
        self.submitted: list[PackJob] = []
        self.computed: list[str] = []
        self.closed = 0
        self.stopped: list[str] = []
        self.memory: dict[str, float] = {}
        self.rng = random.Random(0)
        self.expected: int | None = None

    def size(self) -> int:
        return len(self.names)

    def expect(self, packs: int) -> None:
        self.expected = packs

    def want(self, packs: Mapping[Place, int]) -> None:
        self.wanted = packs

    def notes(self) -> Sequence[str]:
        return []

    def held(self) -> float:
        return len(self.names)

    def idle(self, place: Place) -> Sequence[str]:
        names = self.names if place == "device" else ["endpoint"]
        return [n for n in names if n not in self.jobs]

    def rooms(self) -> Mapping[str, float]:
        return self.memory

    def submit(self, job: PackJob, *, worker: str) -> None:
        assert worker not in self.jobs
        self.jobs[worker] = job
        self.submitted.append(job)

    def progress(self) -> Mapping[str, Progress]:
        return {j.id: Progress(pack=j.id, step=1, steps=2, tokens=5) for j in self.jobs.values()}

    def wait(self, *, timeout: float) -> Sequence[WorkerReply]:
        if not self.jobs:
            return []
        worker = self.rng.choice(sorted(self.jobs))
        job = self.jobs.pop(worker)
        answer = self.script(job)
        if isinstance(answer, Trouble):
            lost = answer.kind in {"crashed", "preempted", "node_died", "memory_taken"}
            return [WorkerReply(worker=worker, pack=job.id, trouble=answer, lost=lost)]
        return [WorkerReply(worker=worker, pack=job.id, results=self.compute(job) if answer is None else answer)]

    def compute(self, job: PackJob, *, only: int | None = None) -> list[StageResult]:
        active = [s for s, on in zip(job.stages, job.active, strict=True) if on]
        for stage in active[:only]:
            commit(self.store, stage)
            self.computed.append(stage.key)
        return [StageResult(key=s.key, ok=True, seconds=1.0, tokens=10) for s in active]

    def stop(self) -> None:
        self.stopped += [job.id for job in self.jobs.values()]

    def close(self) -> None:
        self.closed += 1


def run(
    store: Store,
    executor: FakeExecutor,
    *,
    plan: Plan = PLAN,
    pack: int = 3,
    snapshots: list[Snapshot] | None = None,
    **options: Any,
) -> RunOutcome:
    """Run a plan on a fake executor."""
    snapshots = [] if snapshots is None else snapshots
    return run_grid(
        plan,
        store,
        RunOptions(pack=pack, **options),
        on_progress=snapshots.append,
        start_executor=lambda plan, store, options: executor,
    )
