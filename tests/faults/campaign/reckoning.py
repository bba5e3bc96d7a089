"""A runner that computes numbers from numbers, without a model: a stage takes a third of a second.

A training's state follows from its parent's adapter, its key and every step, and is saved in checkpoints; an
evaluation's counts follow from its parent's adapter. So a wrong or lost byte anywhere becomes another table.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from tests.analysis.worlds import PROVENANCE, commit_evaluation, plan_of
from tests.faults.campaign import troubles
from xlharm.errors import StoppedError
from xlharm.stages.job import PackJob, Progress, Report, RunnerConfig, StageResult
from xlharm.store.checkpoint import Checkpoints, DamagedCheckpointError
from xlharm.store.store import Store

troubles.install("worker")
STEPS = {"contaminate": 12, "sft": 8, "unlearn": 12, "evaluate": 2}
ADAPTER = "adapter_model.safetensors"
SETS = {"none": [], "en": ["en"], "source": ["source"], "both": ["en", "source"]}
PLANS = {
    "large": plan_of(
        languages=["en", "de", "fr", "ur"], contaminate=["none", "de", "fr", "ur"], unlearn=SETS, seeds=2,
        exclude=[{"contaminate": "none", "unlearn": "en"}, {"contaminate": "none", "unlearn": "both"}],
    ),
    "small": plan_of(languages=["en", "de"], contaminate=["none", "de"], unlearn={"none": [], "en": ["en"]}),
}  # fmt: skip


class Reckoning:
    """Commits numbers that depend on everything before them.

    Attributes:
        seconds: duration of a step.
    """

    seconds: ClassVar[float] = 0.06

    def __init__(self, config: RunnerConfig) -> None:
        self._rank = config.rank
        self._world = config.world
        self._store = Store(config.store_url)

    def room(self) -> int | None:
        return None

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool]) -> Sequence[StageResult]:
        active = [stage for stage, on in zip(job.stages, job.active, strict=True) if on]
        for stage in active if self._rank == 0 else ():
            troubles.note("journal", stage.key[:16], stage.kind, os.getpid())
        parents = [self._adapter(stage.inputs[0]) if stage.inputs else b"" for stage in active]
        states = np.stack([_numbers(stage.key.encode(), parent) for stage, parent in zip(active, parents, strict=True)])
        form = f"{''.join('1' if on else '0' for on in job.active)}-{self._world}"
        checkpoints = Checkpoints(self._store, job.id, form=form)
        first, states = self._restored(checkpoints, states)
        for step in range(first, STEPS[job.kind]):
            time.sleep(self.seconds)
            states = np.modf(states * 1.37 + np.roll(states, 1, axis=1) * 0.61 + step / 7)[0]
            for stage in active if self._rank == 0 else ():
                troubles.note("steps", stage.key[:16], step)
            report(Progress(pack=job.id, step=step + 1, steps=STEPS[job.kind], tokens=step))
            if job.kind != "evaluate" and (step % 3 == 2 or stopping()):
                self._save(checkpoints, step + 1, states)
            if stopping():
                raise StoppedError(f"stopped after step {step + 1}")
        if self._rank == 0:
            for stage, state in zip(active, states, strict=True):
                if stage.kind == "evaluate":
                    of, qr = state[:2]
                    commit_evaluation(self._store, stage, of=float(of), qr=float(qr), n=40)
                else:
                    self._commit(stage, state)
            checkpoints.drop()
        return [StageResult(key=stage.key, ok=True, seconds=0.3, tokens=12) for stage in active]

    def _adapter(self, key: str) -> bytes:
        kind = self._store.kind_of(key)
        return (self._store.path(str(kind), key) / ADAPTER).read_bytes()

    def _commit(self, stage: object, state: np.ndarray) -> None:
        with self._store.scratch() as folder:
            (folder / ADAPTER).write_bytes(state.tobytes())
            self._store.commit(
                stage, folder, metrics={"loss": [[0, 1.0]], "moved": 1.0, "tokens": 12}, provenance=PROVENANCE,
                timings={"pack": 0.5, "share": 0.2},
            )  # fmt: skip

    def _save(self, checkpoints: Checkpoints, step: int, states: np.ndarray) -> None:
        content = json.dumps({"step": step}).encode() + b"\n" + states.tobytes()
        checkpoints.write(f"{step:08d}-rank{self._rank}", lambda path: path.write_bytes(content))

    def _restored(self, checkpoints: Checkpoints, states: np.ndarray) -> tuple[int, np.ndarray]:
        """Return the newest undamaged checkpoint's step and states, or those of the beginning."""
        for name in sorted((n for n in checkpoints.names() if n.endswith(f"rank{self._rank}")), reverse=True):
            try:
                head, _, body = checkpoints.read(name, Path.read_bytes).partition(b"\n")
            except DamagedCheckpointError:
                continue
            return int(json.loads(head)["step"]), np.frombuffer(body).reshape(states.shape).copy()
        return 0, states


class Instant(Reckoning):
    """The same, without waiting."""

    seconds = 0.0


def _numbers(*parts: bytes) -> np.ndarray:
    """Return 64 numbers below 1 that follow from some bytes."""
    digest = hashlib.shake_256(b"\0".join(parts)).digest(512)
    return np.frombuffer(digest, dtype=np.uint64) / 2.0**64
