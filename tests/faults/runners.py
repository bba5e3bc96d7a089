"""Runners for the executor's tests: they sleep, write what they do to a trace, and obey orders left in files."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tests.engine.worlds import commit
from xlharm.errors import CorruptArtifactError, StoppedError, UserError
from xlharm.stages.job import OutOfMemoryError, PackJob, Progress, Report, RunnerConfig, StageResult
from xlharm.store.store import Store


class Tracing:
    """Commits made-up results; of a machine whose environment has ROOM=n, only of packs with at most n active slots.

    The folder ``orders`` beside the stages may hold files that say what to do: ``<kind>`` with `crash`, `hang`,
    `hold` (until there is a file ``release``), `oom`, `user`, `bug` or `full`, or `corrupt`; an order is obeyed once.
    """

    seconds: ClassVar[float] = 0.15

    def __init__(self, config: RunnerConfig) -> None:
        self.config = config
        self.store = Store(config.store_url)
        self._trace(f"loaded {os.getpid()} rank {config.rank} of {config.world} at {config.master} for {config.place}")
        if self._order("start") == "user":
            raise UserError("no such base")

    def room(self) -> int | None:
        return int(os.environ["ROOM"]) if "ROOM" in os.environ else None

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool]) -> list[StageResult]:
        active = [s for s, on in zip(job.stages, job.active, strict=True) if on]
        self._trace(f"began {job.kind} {os.getpid()} {len(job.stages)}")
        self._obey(job)
        if len(active) > (self.room() or len(active)):
            raise OutOfMemoryError("too large for this device")
        for step in range(4):
            time.sleep(self.seconds / 4)
            report(Progress(pack=job.id, step=step + 1, steps=4, tokens=10 * (step + 1)))
            if stopping():
                self._trace(f"stopped {os.getpid()}")
                raise StoppedError(f"stopped after step {step + 1}")
        if self.config.rank == 0:
            for stage in active:
                commit(self.store, stage)
                self._trace(f"computed {stage.key}")
        return [StageResult(key=s.key, ok=True, seconds=self.seconds, tokens=40) for s in active]

    def _obey(self, job: PackJob) -> None:
        match self._order(f"{job.kind}-{self.config.rank}") or self._order(job.kind):
            case "crash":
                os.kill(os.getpid(), 9)
            case "hold":
                while not (self.store.local / "orders" / "release").exists():
                    time.sleep(0.05)
            case "hang":
                time.sleep(600)
            case "oom":
                raise OutOfMemoryError("too large")
            case "user":
                raise UserError("no such language")
            case "bug":
                raise IndexError("list index out of range")
            case "full":
                raise OSError(28, "No space left on device")
            case "corrupt":
                key = job.stages[0].inputs[0]
                kind = self.store.kind_of(key)
                (self.store.local / "stages" / str(kind) / key[:16] / "result.txt").write_text("rot")
                raise CorruptArtifactError("does not match its checksum", key=key)

    def _order(self, name: str) -> str:
        path = self.store.local / "orders" / name
        try:
            order = path.read_text()
            path.unlink()
        except FileNotFoundError:
            return ""
        return order

    def _trace(self, line: str) -> None:
        with (self.store.local / "trace").open("a") as handle:
            handle.write(line + "\n")


class Slow(Tracing):
    """Leaves time to be killed."""

    seconds = 1.5


def trace(store: str | Path, word: str) -> list[list[str]]:
    """Return the words of the trace's lines that begin with ``word``."""
    path = Path(store) / "trace"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split() for line in lines if line.startswith(word)]
