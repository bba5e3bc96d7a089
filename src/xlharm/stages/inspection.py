"""Run inspect stages: a probe looks inside each model of a pack, one model after another."""

import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xlharm.evaluate.inspecting import Inspecting
from xlharm.model.base import settings as settings_of
from xlharm.plan.families import row_limit
from xlharm.plan.settings import InspectStage, read
from xlharm.plan.stage import Stage
from xlharm.stages.context import Context
from xlharm.stages.evaluation import ROWS
from xlharm.stages.job import PackJob, Progress, Report, StageResult
from xlharm.stages.scoring import ROWS as TEXTS


def inspect(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Look inside the active models of a pack and commit a table for each.

    The forms of one model that a probe compares fill the slots of a batch, so the models of a pack share none, and
    what a stage computes does not depend on the others.

    Raises:
        UserError: the probe does not fit the base or the corpus.
    """
    results = []
    for i, (stage, active) in enumerate(zip(job.stages, job.active, strict=True)):
        if active:
            results.append(_one(context, job, stage))
        report(Progress(pack=job.id, step=i + 1, steps=len(job.stages), tokens=0))
    return results


def _one(context: Context, job: PackJob, stage: Stage) -> StageResult:
    begun = time.perf_counter()
    table = _table(context, stage, read(InspectStage, stage))
    seconds = time.perf_counter() - begun
    context.commit(job, stage, partial(_write, table), metrics={"rows": table.num_rows}, seconds=seconds, alone=True)
    return StageResult(key=stage.key, ok=True, seconds=seconds)


def _table(context: Context, stage: Stage, settings: InspectStage) -> pa.Table:
    """Let the probe look; with less memory it takes fewer slots.

    Splitting a pack of several models would not help, because they do not share a batch.
    """
    inspecting = _inspecting(context, stage, settings)
    while True:
        try:
            return settings.probe.table(inspecting)
        except torch.OutOfMemoryError:
            if inspecting.slots == 1 or context.config.world > 1:  # ranks must not differ
                raise
        torch.cuda.empty_cache()
        inspecting = replace(inspecting, slots=inspecting.slots // 2)


def _inspecting(context: Context, stage: Stage, settings: InspectStage) -> Inspecting:
    stacked = context.stacked(stage)
    return Inspecting(
        stacked=stacked,
        tokenizer=context.tokenizer,
        prompt=settings.prompt,
        languages=settings.languages,
        load=context.corpora.of(stage),
        limit=settings.questions or sys.maxsize,
        longest=row_limit(settings_of(context.model)) or sys.maxsize,
        max_new_tokens=settings.max_new_tokens or 0,
        matching=settings.matching,
        rows=ROWS[context.device.type],
        texts=TEXTS[context.device.type],
        slots=context.config.slots,
        adapters=tuple(context.adapters(stage.inputs, stacked.layout)),
        check=partial(context.check_rows, stage, answers=settings.probe.asks),
    )


def _write(table: pa.Table, folder: Path) -> None:
    pq.write_table(table, folder / "inside.parquet")
