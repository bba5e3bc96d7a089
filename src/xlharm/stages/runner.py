"""A worker's runner: one base, warm; packs in, committed stages out."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import assert_never

import torch

from xlharm.plan.stage import Kind
from xlharm.stages.context import Context
from xlharm.stages.edit import edit
from xlharm.stages.evaluation import evaluate
from xlharm.stages.inspection import inspect
from xlharm.stages.job import OutOfMemoryError, PackJob, Progress, Report, RunnerConfig, StageResult
from xlharm.stages.judging import judge
from xlharm.stages.scoring import score
from xlharm.stages.training import train
from xlharm.train.saver import never


class StageRunner:
    """Runs packs one after another on one base.

    Args:
        config: where base, corpus and store are, and on what to run.

    Raises:
        UserError: the base cannot be loaded, does not pass its checks, or the device is not there.
    """

    def __init__(self, config: RunnerConfig) -> None:
        self._context = Context(config)

    def room(self) -> int | None:
        """Return the bytes of this worker's device memory; None where it computes on the CPU."""
        device = self._context.device
        return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool] = never) -> list[StageResult]:
        """Run a pack; commit its finished stages; return one result for each active stage.

        Args:
            job: the pack.
            report: called with how far it is.
            stopping: asked between steps whether to save the state and end (in a gang, rank 0's word counts).

        Raises:
            StoppedError: the pack was asked to stop and did.
            OutOfMemoryError: the pack does not fit the device.
            CorruptArtifactError: a parent's files are damaged.
            UserError: the corpus or a setting does not fit the base.
        """
        work = _work(job.kind)
        self._context.stopping = stopping
        self._context.begin_pack()
        before = self._context.prepared
        device = self._context.device if self._context.device.type == "cuda" else None
        try:
            if device is not None:
                torch.cuda.reset_peak_memory_stats(device)
                report = partial(_with_memory, report, device)
            results = work(self._context, job, report=report)
            peak = torch.cuda.max_memory_allocated(device) if device is not None else 0
            prepared = self._context.prepared - before
            return [replace(result, peak=peak, prepared=prepared) for result in results]
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemoryError(str(error)) from None
        except RuntimeError as error:
            if "DefaultCPUAllocator" in str(error):
                raise OutOfMemoryError(str(error)) from None
            raise
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _with_memory(report: Report, device: torch.device, progress: Progress) -> None:
    report(replace(progress, memory=torch.cuda.max_memory_allocated(device)))


def _work(kind: Kind) -> Callable[..., list[StageResult]]:
    """Return what runs packs of a kind."""
    match kind:
        case "contaminate" | "sft" | "finetune" | "unlearn" | "relearn" | "continue":
            return train
        case "edit":
            return edit
        case "evaluate":
            return evaluate
        case "inspect":
            return inspect
        case "score":
            return score
        case "judge":
            return judge
        case _:
            assert_never(kind)
