"""Evaluate: every model of a pack answers one language's questions; answers and verdicts are stored."""

import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xlharm.data.rows import prompt_ids
from xlharm.data.streams import questions_of
from xlharm.evaluate.answers import degenerate, off_language
from xlharm.evaluate.generate import generate, stop_ids
from xlharm.evaluate.match import contains
from xlharm.plan.stage import Stage
from xlharm.spec.grid import Prompt
from xlharm.stages.context import Context
from xlharm.stages.job import PackJob, Progress, Report, StageResult

_ROWS = {"cpu": 512, "cuda": 2048}
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
    ]
)


def evaluate(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Let a pack's models answer, and commit the rows of the active ones.

    An inactive slot runs the plain base, so that the batch keeps its shape.
    """
    begun = time.perf_counter()
    first = job.stages[0]
    stacked = context.stacked(first)
    spec, language = first.spec, str(first.spec["query"])
    prompt = Prompt.model_validate(spec["prompt"])
    items = context.corpora.load(language)
    questions = questions_of(items, limit=int(spec["questions"]))
    prompts = [prompt_ids(q, prompt=prompt, tokenizer=context.tokenizer) for _, _, q, _ in questions]
    zero = torch.zeros(stacked.layout.size)
    loaded = [context.parent(s, stacked.layout) if on else zero for s, on in zip(job.stages, job.active, strict=True)]
    told = generate(
        stacked,
        torch.stack(loaded).to(context.device),
        prompts,
        stops=stop_ids(context.tokenizer, stop=prompt.stop),
        max_new_tokens=int(spec["max_new_tokens"]),
        rows=_ROWS[context.device.type],
    )
    seconds = time.perf_counter() - begun
    tokens = sum(map(len, prompts)) + sum(len(ids) for ids in told[0])
    report(Progress(pack=job.id, step=1, steps=1, tokens=tokens * sum(job.active)))
    results = []
    for k, stage in enumerate(job.stages):
        if job.active[k]:
            answers = [context.tokenizer.decode(ids).strip() for ids in told[k]]
            if context.config.rank == 0:
                _save(context, job, stage, _table(questions, answers, stage=stage), seconds=seconds)
            results.append(StageResult(key=stage.key, ok=True, seconds=seconds, tokens=tokens))
    return results


def _table(questions: list[Any], answers: list[str], *, stage: Stage) -> pa.Table:
    language = str(stage.spec["query"])
    rows = []
    for (item, measure, question, forms), answer in zip(questions, answers, strict=True):
        hit = contains(answer, forms, language=language)
        verdict = {
            "hit": hit,
            # an answer with the expected word of this language is in this language
            "off_language": not hit and off_language(answer, language=language),
            "degenerate": degenerate(answer),
        }
        shown = {
            "item": item.id,
            "measure": measure,
            "question": question,
            "answer": answer,
            "expected": list(forms),
        }
        rows.append({**shown, **verdict})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def count(table: pa.Table) -> dict[str, dict[str, int]]:
    """Count an evaluation's hits by measure, and its off-language and degenerate answers."""
    rows = table.to_pylist()
    counted = {}
    for measure in ("of", "qr"):
        mine = [row["hit"] for row in rows if row["measure"] == measure]
        counted[measure] = {"hits": sum(mine), "n": len(mine)}
    for flag in ("off_language", "degenerate"):
        counted[flag] = {"hits": sum(row[flag] for row in rows), "n": len(rows)}
    return counted


def _save(context: Context, job: PackJob, stage: Stage, table: pa.Table, *, seconds: float) -> None:
    with context.store.scratch() as folder:
        pq.write_table(table, folder / "rows.parquet")
        context.store.commit(
            stage,
            folder,
            metrics=count(table),
            timings={"pack": seconds, "share": seconds / sum(job.active)},
            provenance=context.provenance(pack=len(job.stages), trained=False),
        )
