"""Measure how fast this device trains and answers with a base, in a second or two for each."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import torch

from xlharm.evaluate.asking import Asking
from xlharm.evaluate.generate import generate
from xlharm.plan.settings import EvaluateStage, read
from xlharm.plan.stage import Stage
from xlharm.stages.context import Context
from xlharm.stages.evaluation import asking_of
from xlharm.stages.job import PackJob, Progress
from xlharm.stages.training import train

_SECONDS = 1.0  # of steps, or of answers, that are measured
_WARM = {"cpu": 1, "cuda": 3}  # first steps, which are not measured: code is compiled and captured in them
_LEAST = 2  # steps that are measured even if they take longer
_MOST = 1000
_TRIED = 2  # questions that each adapter answers before the measurement


class _EnoughError(Exception):
    """Enough steps are measured: the rest of the training is not needed."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The pace of training.

    Attributes:
        seconds: of a step of the whole pack.
        tokens: of a step, all slots together.
        peak: most bytes of device memory; 0 on the CPU.
    """

    seconds: float
    tokens: float
    peak: int


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The pace of answering.

    Attributes:
        seconds: of all answers.
        read: tokens of the questions, all slots together.
        new: tokens of the answers, all slots together.
        passes: forward passes.
    """

    seconds: float
    read: int
    new: int
    passes: int


def steps_of(context: Context, job: PackJob) -> Steps:
    """Train a pack's stages, each from a new adapter, for some steps; nothing is stored.

    Raises:
        UserError: the base cannot be trained so.
    """
    times: list[tuple[float, int]] = []
    first = _WARM[context.device.type]
    peak = _Peak(context.device)

    def report(progress: Progress) -> None:
        times.append((_now(context.device), progress.tokens))
        if len(times) > first + _LEAST and times[-1][0] - times[first][0] >= _SECONDS:
            raise _EnoughError

    stages = tuple(map(_endless, job.stages))
    with suppress(_EnoughError):
        train(context, replace(job, stages=stages, active=(True,) * len(stages)), report=report)
    measured = times[first:]
    return Steps(
        seconds=median(b - a for (a, _), (b, _) in pairwise(measured)),
        tokens=(measured[-1][1] - measured[0][1]) / (len(measured) - 1),
        peak=peak.bytes(),
    )


def _endless(stage: Stage) -> Stage:
    """Return a stage that begins with a new adapter and has more steps than are measured."""
    return replace(stage, inputs=(), spec={**stage.spec, "training": {**stage.spec["training"], "steps": _MOST}})


def answers_of(context: Context, job: PackJob) -> Answers:
    """Let the base answer questions of an evaluation, all to their largest length, as a pack of its size would."""
    asking = asking_of(context, replace(job, active=(False,) * len(job.stages)), read(EvaluateStage, job.stages[0]))
    slots, new = len(job.stages), asking.max_new_tokens
    if asking.tokenizer.kind == "masked":
        begun = _now(context.device)
        asking.generate(asking.adapters)
        return Answers(seconds=_now(context.device) - begun, read=slots * asking.tokens, new=0, passes=1)
    tried = _answer(context, asking, count=_TRIED)
    each = tried / _TRIED  # on a CPU; a GPU answers many questions in the time of one
    count = len(asking.prompts) if context.device.type == "cuda" else math.ceil(_SECONDS / max(each, 1e-9))
    count = max(_TRIED, min(count, len(asking.prompts)))
    seconds = _answer(context, asking, count=count)
    asked = sum(map(len, asking.prompts[:count]))
    return Answers(seconds=seconds, read=slots * asked, new=slots * count * new, passes=1 + new)


def _answer(context: Context, asking: Asking, *, count: int) -> float:
    begun = _now(context.device)
    generate(
        asking.stacked, asking.adapters, asking.prompts[:count], stops=frozenset(),
        max_new_tokens=asking.max_new_tokens, rows=asking.rows, begun=asking.begun,
    )  # fmt: skip
    return _now(context.device) - begun


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class _Peak:
    """The largest use of device memory since it was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def bytes(self) -> int:
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else 0
