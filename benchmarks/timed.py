"""A runner that writes down what every pack took, and how much of it was compiling."""

import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from xlharm.stages.job import PackJob, Progress, Report, RunnerConfig, StageResult
from xlharm.stages.runner import StageRunner

LOG = "packs.jsonl"


class Timed:
    """A ``StageRunner`` with a clock; lines go to ``packs.jsonl`` beside the store."""

    def __init__(self, config: RunnerConfig) -> None:
        begun = time.time()
        self._log = Path(config.store_url).parent / LOG
        self._inner = StageRunner(config)
        self._write(kind="load", stages=0, steps=0, begun=begun, compiling=0.0, tokens=0, step=0.0)

    def room(self) -> int | None:
        """Return the device's memory."""
        return self._inner.room()

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool]) -> list[StageResult]:
        """Run a pack and note it."""
        begun, before = time.time(), _compiling()
        marks: list[float] = []

        def noting(progress: Progress) -> None:
            marks.append(time.time())
            report(progress)

        results = self._inner.run(job, report=noting, stopping=stopping)
        steps = int(job.stages[0].spec.get("training", {}).get("steps", 0))
        tokens = sum(r.tokens for r in results)
        apart = [after - earlier for earlier, after in itertools.pairwise(marks)]
        step = statistics.median(apart) if apart else 0.0
        told = {"step": round(step, 4), "kind": job.kind, "stages": len(job.stages), "steps": steps, "tokens": tokens}
        self._write(begun=begun, compiling=_compiling() - before, **told)
        return results

    def _write(self, *, begun: float, compiling: float, **more: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        gib = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        seconds = {"seconds": round(time.time() - begun, 2), "compiling": round(compiling, 2)}
        line = {**more, "begun": begun, **seconds, "peak_gib": round(gib, 1)}
        with self._log.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def _compiling() -> float:
    spent = torch._dynamo.utils.cumulative_time_spent_ns
    return sum(spent.get(name, 0) for name in ("entire_frame_compile", "entire_backward_compile")) / 1e9
