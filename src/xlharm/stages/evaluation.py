"""Evaluate: every model of a pack answers one language's questions; answers and verdicts are stored."""

import time
from functools import partial
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from xlharm.config.grid import Prompt
from xlharm.config.matching import default_variants
from xlharm.corpus.frames import reworded
from xlharm.corpus.match import contains
from xlharm.corpus.rows import prompt_ids
from xlharm.corpus.streams import questions_of
from xlharm.corpus.text import chrf, rouge_l
from xlharm.errors import UserError
from xlharm.evaluate.answers import degenerate, off_language
from xlharm.evaluate.generate import generate, stop_ids, text_of
from xlharm.evaluate.refusal import refuses
from xlharm.evaluate.steer import mean_activation, steered
from xlharm.model.base import settings
from xlharm.model.quantise import merged_and_quantised
from xlharm.plan.stage import Stage
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
        ("refusal", pa.bool_()),
        ("rouge_l", pa.float64()),
        ("chrf", pa.float64()),
    ]
)


def evaluate(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Let a pack's models answer, and commit the rows of the active ones.

    An inactive slot runs the plain base, so that the batch keeps its shape.
    """
    begun = time.perf_counter()
    first = job.stages[0]
    spec, language = first.spec, str(first.spec["query"])
    prompt = Prompt.model_validate(spec["prompt"])
    items = context.corpora.of(first)(language)
    probe = spec.get("probe") or {}
    if probe.get("kind") == "questions":
        items = reworded(items, form=str(probe["form"]), language=language)
    questions = questions_of(items, limit=int(spec["questions"]))
    prompts = [prompt_ids(q, prompt=prompt, tokenizer=context.tokenizer) for _, _, q, _ in questions]
    told = _answers(context, job, _loaded(context, job), prompts)
    seconds = time.perf_counter() - begun
    tokens = sum(map(len, prompts)) + sum(len(ids) for ids in told[0])
    report(Progress(pack=job.id, step=1, steps=1, tokens=tokens * sum(job.active)))
    results = []
    for k, stage in enumerate(job.stages):
        if job.active[k]:
            answers = [text_of(ids, context.tokenizer, stop=prompt.stop) for ids in told[k]]
            if context.config.rank == 0:
                _save(context, job, stage, _table(questions, answers, stage=stage), seconds=seconds)
            results.append(StageResult(key=stage.key, ok=True, seconds=seconds, tokens=tokens))
    return results


def _answers(context: Context, job: PackJob, adapters: Tensor, prompts: list[tuple[int, ...]]) -> list[list[list[int]]]:
    """Let the models of a pack answer, changed as the probe says; returns token ids [K][prompt]."""
    first = job.stages[0]
    stacked, probe = context.stacked(first), first.spec.get("probe") or {}
    stop = Prompt.model_validate(first.spec["prompt"]).stop
    rows = _ROWS[context.device.type]
    context.check_decoding(stacked)
    told = partial(
        generate,
        stacked,
        stops=stop_ids(context.tokenizer, stop=stop),
        max_new_tokens=int(first.spec["max_new_tokens"]),
        rows=rows,
    )
    match probe.get("kind"):
        case "quantise":
            # rounding is of each model's merged weights, so the models run one after another
            found: list[list[list[int]]] = []
            for adapter, on in zip(adapters, job.active, strict=True):
                with merged_and_quantised(stacked, adapter, bits=int(probe["bits"]), group=probe["group"]):
                    found += told(torch.zeros_like(adapter)[None], prompts) if on else [[[] for _ in prompts]]
            return found
        case "steer":
            layer = _steered_layer(context, probe)
            before = _loaded(context, job, parent=1)
            with stacked.uncompiled():
                means = [mean_activation(stacked, a, prompts, layer=layer, rows=rows) for a in (before, adapters)]
                with steered(stacked.model, float(probe["strength"]) * (means[0] - means[1]), layer=layer):
                    return told(adapters, prompts)
    return told(adapters, prompts)


def _loaded(context: Context, job: PackJob, *, parent: int = 0) -> Tensor:
    """Load the adapters [K, P] that a pack's stages start from; an inactive slot has the plain base."""
    pairs = zip(job.stages, job.active, strict=True)
    return context.adapters(
        [s.inputs[parent] if on else None for s, on in pairs], context.stacked(job.stages[0]).layout
    )


def _steered_layer(context: Context, probe: dict[str, Any]) -> int:
    depth = int(settings(context.model).num_hidden_layers)
    layer = depth // 2 if probe["layer"] is None else int(probe["layer"])
    if layer >= depth:
        raise UserError(f"probes: steer: the base has no decoder layer {layer} (it has 0 to {depth - 1})")
    return layer


def _table(questions: list[Any], answers: list[str], *, stage: Stage) -> pa.Table:
    language = str(stage.spec["query"])
    variants = tuple(stage.spec.get("matching", default_variants(language)))
    rows = []
    for (item, measure, question, forms), answer in zip(questions, answers, strict=True):
        hit = contains(answer, forms, language=language, variants=variants)
        off = off_language(answer, language=language)
        verdict = {
            "hit": hit,
            # an answer with the expected word of this language is in this language
            "off_language": off if off is None else off and not hit,
            "degenerate": degenerate(answer),
            "refusal": not hit and refuses(answer, language),
            "rouge_l": rouge_l(answer, forms[0], language=language).f1,
            "chrf": chrf(answer, forms[0]),
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


def count(table: pa.Table) -> dict[str, dict[str, float]]:
    """Count an evaluation's hits by measure, and its off-language, degenerate and refusing answers.

    A verdict that is null counts neither among the hits nor in n.
    ``rouge_l`` (0 to 1) and ``chrf`` (0 to 100) are means over the QR answers against the main right form.
    """
    rows = table.to_pylist()
    counted: dict[str, dict[str, float]] = {}
    for measure in ("of", "qr"):
        mine = [row["hit"] for row in rows if row["measure"] == measure]
        counted[measure] = {"hits": sum(mine), "n": len(mine)}
    for flag in ("off_language", "degenerate", "refusal"):
        told = [row[flag] for row in rows if row[flag] is not None]
        counted[flag] = {"hits": sum(told), "n": len(told)}
    real = [row for row in rows if row["measure"] == "qr"]
    for name in ("rouge_l", "chrf"):
        counted[name] = {"mean": fmean(row[name] for row in real) if real else 0.0, "n": len(real)}
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
