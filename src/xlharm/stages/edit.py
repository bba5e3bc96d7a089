"""Run edit stages: training-free unlearning by arithmetic on finished adapters."""

import time
from functools import partial

from xlharm.errors import StageError
from xlharm.methods.base import EditMethod
from xlharm.model.adapter_files import save_adapter
from xlharm.model.arithmetic import Edited
from xlharm.model.base import name_of
from xlharm.model.layout import Layout
from xlharm.plan.settings import EditStage, read
from xlharm.plan.stage import Stage
from xlharm.stages.context import Context
from xlharm.stages.job import PackJob, Progress, Report, StageResult

_LEAST_MOVE = 1e-8  # a smaller change (Frobenius norm over all products) counts as none


def edit(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Edit a pack's adapters one after another, and commit them; the slots share no computation."""
    results = []
    for i, (stage, on) in enumerate(zip(job.stages, job.active, strict=True)):
        if on:
            results.append(_one(context, job, stage))
        report(Progress(pack=job.id, step=i + 1, steps=len(job.stages), tokens=0))
    return results


def _one(context: Context, job: PackJob, stage: Stage) -> StageResult:
    begun = time.perf_counter()
    layout = context.stacked(stage).layout
    edited = _edited(context, stage, layout)
    if edited.moved < _LEAST_MOVE:
        message = f"the adapter moved by {edited.moved:.1e}: nothing was changed"
        return StageResult(key=stage.key, ok=False, reason="adapter_did_not_move", message=message)
    seconds = time.perf_counter() - begun
    metrics = {"moved": edited.moved, "lost_to_rank": edited.lost}
    base = context.config.base
    write = partial(save_adapter, edited.adapter, layout=layout, base_name=name_of(base), kind=base.kind)
    context.commit(job, stage, write, metrics=metrics, seconds=seconds, alone=True)
    context.remember(stage.key, edited.adapter)
    return StageResult(key=stage.key, ok=True, seconds=seconds)


def _edited(context: Context, stage: Stage, layout: Layout) -> Edited:
    method = read(EditStage, stage).edit
    if not isinstance(method, EditMethod):
        raise StageError(f"method {method.objective} does not edit adapters")
    parent, *vectors = (context.adapter(key, layout) for key in stage.inputs)
    return method.edit(parent, vectors, layout=layout)
