"""A runner that records the time of every pack, and how much of it was spent on compiling.

Two environment variables: ``BENCH_GIB`` limits the GPU memory of each process, and ``BENCH_DIES``
("contaminate 1 20") kills rank 1 after step 20 of contaminating, once.
"""

import itertools
import json
import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from xlharm.plan.memory import BaseSizes, estimate_bytes
from xlharm.stages.job import PackJob, Progress, Report, RunnerConfig, StageResult
from xlharm.stages.runner import StageRunner

LOG = "packs.jsonl"


class Timed:
    """A ``StageRunner`` that writes a line for each pack to ``packs.jsonl`` beside the store."""

    def __init__(self, config: RunnerConfig) -> None:
        begun = time.time()
        self._log = Path(config.store_url).parent / LOG
        self._rank = config.rank
        self._dies = os.environ.get("BENCH_DIES", "").split()
        if limit := os.environ.get("BENCH_GIB"):
            share = float(limit) * 2**30 / torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, share))
        self._inner = StageRunner(replace(config, checkpoint_seconds=5.0) if self._dies else config)
        self._sizes = BaseSizes.of(config.base)
        self._write(kind="load", stages=0, steps=0, begun=begun, compiling=0.0, tokens=0, step=0.0)

    def room(self) -> int | None:
        """Return the device's memory in bytes."""
        return self._inner.room()

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool]) -> list[StageResult]:
        """Run a pack and record its times."""
        begun, before = time.time(), _compiling()
        marks: list[float] = []

        def noting(progress: Progress) -> None:
            marks.append(time.time())
            report(progress)
            if self._dies == [job.kind, str(self._rank), str(progress.step)]:
                self._die()

        results = self._inner.run(job, report=noting, stopping=stopping)
        steps = int(job.stages[0].spec.get("training", {}).get("steps", 0))
        tokens = sum(r.tokens for r in results)
        apart = [after - earlier for earlier, after in itertools.pairwise(marks)]
        step = statistics.median(apart) if apart else 0.0
        first = marks[0] - begun if marks else 0.0
        measured = {
            "step": round(step, 4), "first": round(first, 2), "kind": job.kind, "stages": len(job.stages),
            "steps": steps, "tokens": tokens, "estimate_gib": self._estimate(job),
            "keys": [stage.key[:16] for stage in job.stages],
        }  # fmt: skip
        self._write(begun=begun, compiling=_compiling() - before, **measured)
        return results

    def _write(self, *, begun: float, compiling: float, **more: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        gib = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0  # of this pack
        seconds = {"seconds": round(time.time() - begun, 2), "compiling": round(compiling, 2)}
        who = {"rank": self._rank, "pid": os.getpid()}
        line = {**more, "begun": begun, **seconds, "peak_gib": round(gib, 1), **who}
        with self._log.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")

    def _estimate(self, job: PackJob) -> float:
        """Return the driver's estimate of the pack's memory in GiB, for comparison with the measured peak."""
        if self._sizes is None:
            return 0.0
        return round(estimate_bytes(self._sizes, job.stages[0], slots=len(job.stages)) / 2**30, 1)

    def _die(self) -> None:
        try:
            (self._log.parent / "died").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines that rank 0 of every worker wrote, in order."""
    lines = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if not line["rank"]]


def _compiling() -> float:
    spent = torch._dynamo.utils.cumulative_time_spent_ns
    return sum(spent.get(name, 0) for name in ("entire_frame_compile", "entire_backward_compile")) / 1e9
