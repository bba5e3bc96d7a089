"""Evaluate: every model of a pack answers one language's questions; answers and verdicts are stored."""

import time
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from xlharm.corpus.match import contains
from xlharm.corpus.text import chrf, rouge_l
from xlharm.evaluate.answers import degenerate, off_language
from xlharm.evaluate.asking import Answer, Asking
from xlharm.evaluate.refusal import refuses
from xlharm.plan.settings import EvaluateStage, read
from xlharm.plan.stage import Stage
from xlharm.stages.context import Context
from xlharm.stages.job import PackJob, Progress, Report, StageResult

ROWS = {"cpu": 512, "cuda": 2048}
SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("measure", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("expected", pa.list_(pa.string())),
        ("hit", pa.bool_()),
        ("off_language", pa.bool_()),
        ("degenerate", pa.bool_()),
        ("refusal", pa.bool_()),
        ("rouge_l", pa.float64()),
        ("chrf", pa.float64()),
    ]
)
CHOICES = pa.schema([*SCHEMA, ("options", pa.list_(pa.string())), ("scores", pa.list_(pa.float64()))])
"""The rows of masked models: the texts to choose from, the expected one first, and their scores."""


def evaluate(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Let a pack's models answer, and commit the rows of the active ones.

    An inactive slot runs the plain base, so that the batch keeps its shape.

    Raises:
        StageError: the stage's settings or its probe are not known here.
    """
    settings = read(EvaluateStage, job.stages[0])
    asking = asking_of(context, job, settings)
    context.check_rows(job.stages[0], asking.longest, answers=True)
    begun = time.perf_counter()
    if settings.probe is None:
        answers = asking.generate(asking.adapters)
    else:
        asking, answers = settings.probe.answers(asking)
    seconds = time.perf_counter() - begun
    tokens = asking.tokens + sum(len(answer.ids) for answer in answers[0])
    report(Progress(pack=job.id, step=1, steps=1, tokens=tokens * sum(job.active)))
    results = []
    for k, stage in enumerate(job.stages):
        if job.active[k]:
            table = _table(asking.questions, answers[k], stage=stage)
            metrics = {**count(table), **asking.figures}
            context.commit(job, stage, partial(_write, table), metrics=metrics, seconds=seconds)
            results.append(StageResult(key=stage.key, ok=True, seconds=seconds, tokens=tokens))
    return results


def asking_of(context: Context, job: PackJob, settings: EvaluateStage) -> Asking:
    """Return a pack's models, and the questions of its stages' language."""
    first = job.stages[0]
    parents = partial(_loaded, context, job)
    return Asking(
        stacked=context.stacked(first),
        tokenizer=context.tokenizer,
        prompt=settings.prompt,
        language=settings.query,
        items=context.corpora.of(first)(settings.query),
        limit=settings.questions,
        max_new_tokens=settings.max_new_tokens,
        rows=ROWS[context.device.type],
        adapters=parents(0),
        active=job.active,
        parents=parents,
    )


def _loaded(context: Context, job: PackJob, parent: int) -> Tensor:
    """Load the adapters [K, P] of an input of a pack's stages; an inactive slot has the plain base."""
    pairs = zip(job.stages, job.active, strict=True)
    keys = [stage.inputs[parent] if active else None for stage, active in pairs]
    return context.adapters(keys, context.stacked(job.stages[0]).layout)


def _table(questions: list[Any], answers: list[Answer], *, stage: Stage) -> pa.Table:
    settings = read(EvaluateStage, stage)
    rows, schema = [], SCHEMA
    for (item, measure, question, forms), answer in zip(questions, answers, strict=True):
        shown = {
            "item": item.id,
            "measure": measure,
            "question": question,
            "answer": answer.text,
            "expected": list(forms),
        }
        if answer.options:
            schema, verdict = CHOICES, _choice(answer)
        else:
            verdict = _verdict(answer.text, forms, settings=settings)
        rows.append({**shown, **verdict})
    return pa.Table.from_pylist(rows, schema=schema)


def _verdict(answer: str, forms: tuple[str, ...], *, settings: EvaluateStage) -> dict[str, Any]:
    language = settings.query
    hit = contains(answer, forms, language=language, variants=settings.matching)
    off = off_language(answer, language=language)
    return {
        "hit": hit,
        # an answer with the expected word of this language is in this language
        "off_language": off if off is None else off and not hit,
        "degenerate": degenerate(answer),
        "refusal": not hit and refuses(answer, language),
        "rouge_l": rouge_l(answer, forms[0], language=language).f1,
        "chrf": chrf(answer, forms[0]),
    }


def _choice(answer: Answer) -> dict[str, Any]:
    """Return the verdict on a choice: how an answer is written says nothing of a text that was given."""
    return {"hit": answer.text == answer.options[0], "options": list(answer.options), "scores": list(answer.scores)}


def count(table: pa.Table) -> dict[str, dict[str, float]]:
    """Count an evaluation's hits by measure, and its off-language, degenerate and refusing answers.

    A verdict that is null counts neither among the hits nor in n.
    ``rouge_l`` (0 to 1) and ``chrf`` (0 to 100) are means over the QR answers against the main right form. Where models
    chose, ``choice`` has the mean number of options.
    """
    rows = table.to_pylist()
    counted: dict[str, dict[str, float]] = {}
    for measure in ("of", "qr"):
        hits = [row["hit"] for row in rows if row["measure"] == measure]
        counted[measure] = {"hits": sum(hits), "n": len(hits)}
    for flag in ("off_language", "degenerate", "refusal"):
        verdicts = [row[flag] for row in rows if row[flag] is not None]
        counted[flag] = {"hits": sum(verdicts), "n": len(verdicts)}
    for name in ("rouge_l", "chrf"):
        real = [row[name] for row in rows if row["measure"] == "qr" and row[name] is not None]
        counted[name] = {"mean": fmean(real) if real else 0.0, "n": len(real)}
    if "options" in table.column_names:
        counted["choice"] = {"options": fmean(len(row["options"]) for row in rows), "n": len(rows)}
    return counted


def _write(table: pa.Table, folder: Path) -> None:
    pq.write_table(table, folder / "rows.parquet")
