"""Run stages that train: the adapters of a pack are trained together and committed one by one."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

import torch
from safetensors.torch import load_file
from torch import Tensor

from xlharm.corpus.sampling import Stream, shapes
from xlharm.errors import StageError
from xlharm.methods.base import LossMethod
from xlharm.model.adapter_files import save_adapter, write_tensors
from xlharm.model.base import name_of
from xlharm.parallel import side_by_side
from xlharm.plan.settings import (
    ContaminateStage,
    ContinueStage,
    FineTuneStage,
    RelearnStage,
    SftStage,
    TrainingStage,
    UnlearnStage,
    training_of,
)
from xlharm.plan.stage import Stage
from xlharm.stages.context import Context
from xlharm.stages.job import PackJob, Progress, Report, StageResult
from xlharm.store.checkpoint import Checkpoints, DamagedCheckpointError
from xlharm.train.loop import train_pack
from xlharm.train.saver import Restored, Saver
from xlharm.train.slots import BatchShare, Slot, Trained
from xlharm.train.terms import FINE_TUNING, LossTerms

logger = logging.getLogger(__name__)

_LEAST_MOVE = 1e-8  # an adapter that changes by less (Euclidean norm) was not trained
_LOSSES_KEPT = 200  # points of a loss curve in a record


def train(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Train a pack's active stages and commit those with a valid result; return one result for each.

    Raises:
        StoppedError: the pack has stopped on request, after writing a checkpoint.
    """
    first = job.stages[0]
    engine = context.engine(first)
    streams = [context.corpora.stream(stage) for stage in job.stages]
    context.check_rows(first, max(row.longest for stream in streams for row in stream.all_rows()))
    inputs = zip(job.stages, streams, job.active, strict=True)
    slots = side_by_side([partial(_slot, context, stage, stream, active) for stage, stream, active in inputs])
    steps = _settings(first).training.steps

    def step_done(step: int, tokens: int) -> None:
        report(Progress(pack=job.id, step=step, steps=steps, tokens=tokens))

    notes: list[str] = []
    trained = train_pack(
        engine,
        slots,
        rows=BatchShare(rank=context.config.rank, world=context.config.world, micro=context.config.micro_rows),
        saver=_saver(context, job, notes),
        report=step_done,
    )
    outputs = zip(job.stages, streams, trained, job.active, strict=True)
    finished = [(stage, stream, output) for stage, stream, output, active in outputs if active]
    results = side_by_side(
        [partial(_commit, context, job, stage, stream, output) for stage, stream, output in finished]
    )
    for (stage, _, output), result in zip(finished, results, strict=True):
        if result.ok:
            context.remember(stage.key, output.adapter)
    if context.config.rank == 0:
        _checkpoints(context, job).drop()
    if context.config.world > 1:
        torch.distributed.barrier()
    return [replace(results[0], notes=tuple(notes)), *results[1:]]


def _slot(context: Context, stage: Stage, stream: Stream, active: bool) -> Slot:
    layout, settings = context.stacked(stage).layout, _settings(stage)
    if not active:
        initial = torch.zeros(layout.size)
    elif stage.inputs:
        initial = context.adapter(stage.inputs[0], layout)
    else:
        initial = layout.initial(seed=settings.seed)
    return Slot(
        training=settings.training,
        terms=_terms(settings),
        stream=stream,
        initial=initial,
        mask=layout.mask(_layers(settings)),
        seed=settings.seed,
        active=active,
    )


def _settings(stage: Stage) -> TrainingStage:
    settings = training_of(stage)
    if settings is None:
        raise StageError(f"{stage.label}: a stage of kind {stage.kind} does not train")
    return settings


def _terms(settings: TrainingStage) -> LossTerms:
    match settings:
        case UnlearnStage(training=LossMethod() as method):
            return LossTerms.of_method(method, seed=settings.seed)
        case UnlearnStage(training=method):
            raise StageError(f"method {method.objective} has no loss to train on")
        case ContaminateStage() | SftStage() | FineTuneStage() | RelearnStage() | ContinueStage():
            return FINE_TUNING
        case _:
            assert_never(settings)


def _layers(settings: TrainingStage) -> Sequence[int] | None:
    """Return the decoder layers whose adapters are trained; None for all layers."""
    return settings.training.layers if isinstance(settings, UnlearnStage | FineTuneStage) else None


def _commit(context: Context, job: PackJob, stage: Stage, stream: Stream, result: Trained) -> StageResult:
    """Check a trained adapter and commit it; return the stage's result, with a reason when the check fails."""
    result_of = partial(StageResult, key=stage.key, seconds=result.seconds, tokens=result.tokens)
    broken = [i for curve in result.curves.values() for i, x in enumerate(curve) if not math.isfinite(x)]
    if broken or not bool(torch.isfinite(result.adapter).all()):
        step = min(broken, default=len(result.curves["target"]))
        return result_of(ok=False, reason="nan", message=f"the loss is not a number from step {step} on")
    if result.moved < _LEAST_MOVE:
        message = f"the adapter moved by {result.moved:.1e}: nothing was trained"
        return result_of(ok=False, reason="adapter_did_not_move", message=message)
    layout, base = context.stacked(stage).layout, context.config.base
    write = partial(save_adapter, result.adapter, layout=layout, base_name=name_of(base), kind=base.kind)
    try:
        context.commit(job, stage, write, metrics=_metrics(stream, result), seconds=result.seconds, trained=True)
    except StageError as error:
        return result_of(ok=False, reason="empty_tensor", message=str(error))
    return result_of(ok=True)


def _metrics(stream: Stream, result: Trained) -> dict[str, Any]:
    names = {"target": "loss", "retain": "retain_loss"}
    metrics: dict[str, Any] = {
        **{names.get(name, name): _thin(curve) for name, curve in result.curves.items()},
        "moved": result.moved,
        "moved_share": result.moved / max(result.began, 1e-12),
        "tokens": result.tokens,
        **shapes(stream),
    }
    if result.stopped:
        metrics["stopped"] = {"steps": result.stopped[0], "bound": result.stopped[1]}
    return metrics


def _thin(losses: list[float]) -> list[list[float]]:
    """Return at most about ``_LOSSES_KEPT`` points of a loss curve, as [step, value]."""
    every = max(1, -(-len(losses) // _LOSSES_KEPT))
    last = len(losses) - 1
    return [[i, x] for i, x in enumerate(losses) if i % every == 0 or i == last]


def _checkpoints(context: Context, job: PackJob) -> Checkpoints:
    pattern = "".join("1" if on else "0" for on in job.active)
    return Checkpoints(context.store, job.id, form=f"{pattern}-{context.config.world}x{context.zero}")


def _saver(context: Context, job: PackJob, notes: list[str]) -> Saver:
    """Return a saver that writes checkpoints to the store: one file for each step and rank.

    It restores the newest step for which the files of all ranks are there and this rank's own is undamaged.

    Args:
        context: the worker's state.
        job: the pack.
        notes: receives a line about each damaged checkpoint.
    """
    checkpoints = _checkpoints(context, job)
    rank, world = context.config.rank, context.config.world

    def save(step: int, state: dict[str, Tensor], losses: Tensor) -> None:
        tensors = {**state, "losses": losses.contiguous()}
        checkpoints.write(_checkpoint_name(step, rank), partial(write_tensors, tensors))
        own = sorted(name for name in checkpoints.names() if name == _checkpoint_name(_step_of(name), rank))
        checkpoints.remove(*own[:-2])  # two are kept: another rank may not have saved the newest step yet

    def restore(at_most: int) -> Restored | None:
        names = checkpoints.names()
        common = [s for s in map(_step_of, names) if names >= {_checkpoint_name(s, r) for r in range(world)}]
        for step in sorted({s for s in common if 0 < s <= at_most}, reverse=True):
            try:
                state = checkpoints.read(_checkpoint_name(step, rank), load_file)
                return step, state, state.pop("losses")
            except DamagedCheckpointError as error:
                notes.append(f"{error}: training continues from an older one, or begins again")
                if rank:  # only the first rank's results reach the driver
                    logger.warning(notes[-1])
        return None

    return Saver(restore=restore, save=save, every=context.config.checkpoint_seconds, stopping=context.stopping)


def _checkpoint_name(step: int, rank: int) -> str:
    return f"{step:08d}-rank{rank}"


def _step_of(name: str) -> int:
    """Return a checkpoint's step; -1 when the file's name is no checkpoint's."""
    step = name.partition("-")[0]
    return int(step) if step.isdecimal() else -1
