"""Run inspect stages: a probe looks inside each model of a pack, one model after another."""

import sys
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.corpus.rows import prompt_ids
from xlharm.corpus.streams import questions_of
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
        report(Progress(pack=job.id, step=i + 1, steps=len(job.stages), tokens=sum(r.tokens for r in results)))
    return results


def _one(context: Context, job: PackJob, stage: Stage) -> StageResult:
    begun = time.perf_counter()
    settings = read(InspectStage, stage)
    inspecting = _inspecting(context, stage, settings)
    tokens = [
        len(prompt_ids(question, prompt=settings.prompt, tokenizer=context.tokenizer))
        for language in settings.languages
        for _, _, question, _ in questions_of(inspecting.load(language), limit=settings.questions)
    ]
    context.check_rows(stage, max(tokens, default=0) + inspecting.max_new_tokens, answers=settings.probe.asks)
    table = settings.probe.table(inspecting)
    seconds = time.perf_counter() - begun
    context.commit(job, stage, partial(_write, table), metrics={"rows": table.num_rows}, seconds=seconds, alone=True)
    return StageResult(key=stage.key, ok=True, seconds=seconds, tokens=sum(tokens))


def _inspecting(context: Context, stage: Stage, settings: InspectStage) -> Inspecting:
    stacked = context.stacked(stage)
    return Inspecting(
        stacked=stacked,
        tokenizer=context.tokenizer,
        prompt=settings.prompt,
        languages=settings.languages,
        load=context.corpora.of(stage),
        limit=settings.questions,
        longest=row_limit(settings_of(context.model)) or sys.maxsize,
        max_new_tokens=settings.max_new_tokens or 0,
        matching=settings.matching,
        rows=ROWS[context.device.type],
        texts=TEXTS[context.device.type],
        slots=context.config.slots,
        adapters=tuple(context.adapters(stage.inputs, stacked.layout)),
    )


def _write(table: pa.Table, folder: Path) -> None:
    pq.write_table(table, folder / "inside.parquet")
