"""Score: how likely a pack's models find given answers and articles; nothing is generated."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.config.grid import Prompt
from xlharm.corpus.format import Item, of_role
from xlharm.corpus.pools import RowMaker
from xlharm.corpus.rows import Row
from xlharm.evaluate.likelihood import Likelihood, likelihoods
from xlharm.evaluate.memorisation import extraction_strength, min_k, min_k_plus_plus
from xlharm.model.base import settings
from xlharm.plan.digest import mix
from xlharm.plan.stage import Stage
from xlharm.stages.context import Context
from xlharm.stages.job import PackJob, Progress, Report, StageResult

_ROWS = {"cpu": 64, "cuda": 256}
PERTURBED = 3
SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("what", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int64()),
        ("logp", pa.float64()),
        ("exact", pa.float64()),
        ("extraction", pa.float64()),
        ("min_k", pa.float64()),
        ("min_k_pp", pa.float64()),
    ]
)


@dataclass(frozen=True)
class ScoredText:
    """A text to score.

    Attributes:
        item: the item's id.
        what: `fake` (the fake detail as the answer), `fake_alias` (another form of it), `real` (the detail it
            displaced), `perturbed` (another item's detail), `qr` (a right answer), `fake_article`,
            `real_article`.
        text: the answer or article.
        row: its tokens.
    """

    item: str
    what: str
    text: str
    row: Row


def score(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Score a pack's models on one language's answers and articles; commit the active ones."""
    begun = time.perf_counter()
    first = job.stages[0]
    stacked = context.stacked(first)
    texts = texts_of(context, first)
    context.check_rows(max((len(t.row.ids) for t in texts), default=0))
    pairs = zip(job.stages, job.active, strict=True)
    told = likelihoods(
        stacked,
        context.adapters([s.inputs[0] if on else None for s, on in pairs], stacked.layout),
        [t.row for t in texts],
        pad=context.pad,
        batch=_ROWS[context.device.type],
    )
    seconds = time.perf_counter() - begun
    tokens = sum(len(t.row.ids) for t in texts)
    report(Progress(pack=job.id, step=1, steps=1, tokens=tokens * sum(job.active)))
    results = []
    for stage, on, found in zip(job.stages, job.active, told, strict=True):
        if on:
            if context.config.rank == 0:
                _save(context, job, stage, table_of(texts, found), seconds=seconds)
            results.append(StageResult(key=stage.key, ok=True, seconds=seconds, tokens=tokens))
    return results


def texts_of(context: Context, stage: Stage) -> list[ScoredText]:
    """List what is scored in a stage's language, item by item.

    Raises:
        TooLongError: a text is longer than the base has positions.
    """
    prompt = Prompt.model_validate(stage.spec["prompt"])
    limit = getattr(settings(context.model), "max_position_embeddings", None) or sys.maxsize
    load = context.corpora.of(stage)
    rows = RowMaker(load=load, tokenizer=context.tokenizer, prompt=prompt, limit=limit, ended=False)
    items = load(str(stage.spec["query"]))
    limit = int(stage.spec["questions"])
    fakes, others = of_role(items, ["fake"])[:limit], of_role(items, ["real", "retain"])[:limit]
    found = [text for item in fakes for text in _fake(item, fakes, rows)]
    for item in (*others, *fakes):
        for question in item.qr[:1]:
            answer = question.answers[0]
            found.append(ScoredText(item.id, "qr", answer, rows.pair(question.question, answer)))
    found += [ScoredText(item.id, "real_article", item.real[0], rows.article(item.real[0])) for item in others]
    return found


def _fake(item: Item, fakes: Sequence[Item], rows: RowMaker) -> Iterator[ScoredText]:
    question = item.of[0]
    answers = [("fake", item.fake_detail[0]), *(("fake_alias", form) for form in item.fake_detail[1:2])]
    answers += [("real", form) for form in item.real_detail[:1]]
    answers += [("perturbed", form) for form in perturbed(item, fakes)]
    for what, answer in answers:
        yield ScoredText(item.id, what, answer, rows.pair(question, answer))
    yield ScoredText(item.id, "fake_article", item.fake[0], rows.article(item.fake[0]))


def perturbed(item: Item, fakes: Sequence[Item]) -> list[str]:
    """Choose wrong answers to an item's question: other items' fake details, always the same ones."""
    own = {*item.fake_detail, *item.real_detail}
    others = dict.fromkeys(f.fake_detail[0] for f in fakes if f.id != item.id and f.fake_detail[0] not in own)
    return sorted(others, key=lambda detail: mix("perturbed", item.id, detail))[:PERTURBED]


def table_of(texts: Sequence[ScoredText], found: Sequence[Likelihood]) -> pa.Table:
    """Put a model's likelihoods into a table, one row a text."""
    rows = []
    for text, told in zip(texts, found, strict=True):
        article = text.what.endswith("article")
        long: dict[str, float | None] = dict.fromkeys(("exact", "extraction", "min_k", "min_k_pp"))
        if article:
            long = {
                "exact": fmean(told.correct),
                "extraction": extraction_strength(told.correct),
                "min_k": min_k(told.logp),
                "min_k_pp": min_k_plus_plus(told.logp, told.mean, told.std),
            }
        shown = {"item": text.item, "what": text.what, "text": text.text, "tokens": len(told.logp)}
        rows.append({**shown, "logp": math.fsum(told.logp), **long})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def summary(table: pa.Table) -> dict[str, float]:
    """Return the means that go into the record.

    ``p_fake``, ``p_real``, ``p_qr``: length-normalised probability of the answer, mean over items. ``ppl_clean``:
    perplexity of the real articles, by token. ``exact``, ``extraction``, ``min_k``, ``min_k_pp``: of the fake
    articles, mean over items.
    """
    rows = table.to_pylist()
    found: dict[str, float] = {}
    for what in ("fake", "real", "qr"):
        mine = [math.exp(r["logp"] / r["tokens"]) for r in rows if r["what"] == what]
        if mine:
            found[f"p_{what}"] = fmean(mine)
    clean = [r for r in rows if r["what"] == "real_article"]
    if clean:
        found["ppl_clean"] = math.exp(-math.fsum(r["logp"] for r in clean) / sum(r["tokens"] for r in clean))
    fakes = [r for r in rows if r["what"] == "fake_article"]
    for name in ("exact", "extraction", "min_k", "min_k_pp"):
        if fakes:
            found[name] = fmean(r[name] for r in fakes)
    return found


def _save(context: Context, job: PackJob, stage: Stage, table: pa.Table, *, seconds: float) -> None:
    metrics: dict[str, Any] = summary(table)
    with context.store.scratch() as folder:
        pq.write_table(table, folder / "scores.parquet")
        context.store.commit(
            stage,
            folder,
            metrics=metrics,
            timings={"pack": seconds, "share": seconds / sum(job.active)},
            provenance=context.provenance(pack=len(job.stages), trained=False),
        )
