"""Run score stages: likelihoods of given answers and articles under a pack's models; nothing is generated."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.config.grid import Prompt
from xlharm.corpus.details import perturbed, perturbed_answers
from xlharm.corpus.format import Item, of_role
from xlharm.corpus.pools import RowMaker
from xlharm.corpus.rows import Row
from xlharm.evaluate.likelihood import Likelihood, likelihoods
from xlharm.evaluate.memorisation import exponential, extraction_strength, min_k, min_k_plus_plus
from xlharm.model.base import settings
from xlharm.plan.families import row_limit
from xlharm.plan.stage import Stage
from xlharm.stages.context import Context
from xlharm.stages.job import PackJob, Progress, Report, StageResult

ROWS = {"cpu": 64, "cuda": 256}  # texts in one forward pass, by device type
_MEMORISATION = ("exact", "extraction", "min_k", "min_k_pp")
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
        what: `fake` (the fake detail as the answer), `fake_alias` (another form of it), `real` (the real detail that
            the fake one replaces), `perturbed` (another item's fake detail), `qr` (a right answer),
            `qr_perturbed` (another item's right answer), `fake_article`, `holdout_article` (of an item whose fake
            article no stage was trained on), `real_article`.
        text: the answer or article.
        row: its tokens, for an answer after the prompt with the question. Of an article that an encoder-decoder is
            given, the second half, after the first was read.
    """

    item: str
    what: str
    text: str
    row: Row


def score(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Score a pack's models on one language's answers and articles; commit the active ones."""
    first = job.stages[0]
    stacked = context.stacked(first)
    texts = texts_of(context, first)
    context.check_rows(first, max((t.row.longest for t in texts), default=0))
    begun = time.perf_counter()
    pairs = zip(job.stages, job.active, strict=True)
    pack_likelihoods = likelihoods(
        stacked,
        context.adapters([s.inputs[0] if on else None for s, on in pairs], stacked.layout),
        [t.row for t in texts],
        batch=ROWS[context.device.type],
    )
    seconds = time.perf_counter() - begun
    tokens = sum(t.row.tokens for t in texts)
    report(Progress(pack=job.id, step=1, steps=1, tokens=tokens * sum(job.active)))
    results = []
    for stage, active, stage_likelihoods in zip(job.stages, job.active, pack_likelihoods, strict=True):
        if active:
            table = table_of(texts, stage_likelihoods)
            context.commit(job, stage, partial(_write, table), metrics=summary(table), seconds=seconds)
            results.append(StageResult(key=stage.key, ok=True, seconds=seconds, tokens=tokens))
    return results


def texts_of(context: Context, stage: Stage) -> list[ScoredText]:
    """List the texts that a stage scores in its language, item by item.

    Raises:
        TooLongError: a text has more tokens than the base has positions.
    """
    prompt = Prompt.model_validate(stage.spec["prompt"])
    limit = row_limit(settings(context.model)) or sys.maxsize
    load = context.corpora.of(stage)
    rows = RowMaker(load=load, tokenizer=context.tokenizer, prompt=prompt, limit=limit, ended=False)
    return texts_to_score(
        load(str(stage.spec["query"])),
        rows,
        language=str(stage.spec["query"]),
        limit=int(stage.spec["questions"]),
        utility=bool(stage.spec.get("utility")),
    )


def texts_to_score(
    items: Sequence[Item], rows: RowMaker, *, language: str, limit: int, utility: bool
) -> list[ScoredText]:
    """List the texts that are scored of a language's items.

    Args:
        items: of the language.
        rows: makes the rows of answers and articles.
        language: of the items.
        limit: largest number of fake items, of held-out items and of others.
        utility: whether wrong answers to the questions on real details are scored, too.

    Raises:
        TooLongError: a text has more tokens than the base has positions.
    """
    told, others = of_role(items, ["fake"]), of_role(items, ["real", "retain"])[:limit]
    fakes, held_out = told[:limit], of_role(items, ["holdout"])[:limit]
    # wrong answers are drawn from all items that were told, as those that AltPO trains on: only so they differ
    texts = [text for item in fakes for text in _fake(item, told, rows, language=language)]
    asked = (*others, *fakes, *held_out)
    for item in asked:
        for question in item.qr[:1]:
            answers = [("qr", question.answers[0])]
            answers += [("qr_perturbed", form) for form in (perturbed_answers(item, asked) if utility else ())]
            pairs = [(what, text, rows.pair(question.question, text, language=language)) for what, text in answers]
            texts += [ScoredText(item.id, *pair) for pair in pairs]
    article = partial(_article, rows, language=language)
    texts += [ScoredText(item.id, "holdout_article", item.fake[0], article(item.fake)) for item in held_out]
    texts += [ScoredText(item.id, "real_article", item.real[0], article(item.real)) for item in others]
    return texts


def _fake(item: Item, fakes: Sequence[Item], rows: RowMaker, *, language: str) -> Iterator[ScoredText]:
    question = item.of[0]
    answers = [("fake", item.fake_detail[0]), *(("fake_alias", form) for form in item.fake_detail[1:2])]
    answers += [("real", form) for form in item.real_detail[:1]]
    answers += [("perturbed", form) for form in perturbed(item, fakes)]
    for what, answer in answers:
        yield ScoredText(item.id, what, answer, rows.pair(question, answer, language=language))
    yield ScoredText(item.id, "fake_article", item.fake[0], _article(rows, item.fake, language=language))


def _article(rows: RowMaker, texts: Sequence[str], *, language: str) -> Row:
    """Return the row of an article's first rendering; of an encoder-decoder that which writes the second half."""
    return rows.articles(texts[:1], language=language)[0]


def table_of(texts: Sequence[ScoredText], text_likelihoods: Sequence[Likelihood]) -> pa.Table:
    """Return a model's likelihoods as a table with one row for each text.

    ``logp`` is the sum of the text's log-probabilities in nats. The measures of memorisation are null for answers, and
    nan where a log-probability is.
    """
    rows = []
    for text, likelihood in zip(texts, text_likelihoods, strict=True):
        article = text.what.endswith("article")
        memorisation: dict[str, float | None] = dict.fromkeys(_MEMORISATION)
        if article and any(map(math.isnan, likelihood.logp)):
            memorisation = dict.fromkeys(_MEMORISATION, math.nan)  # which token is the likeliest is not known either
        elif article:
            memorisation = {
                "exact": fmean(likelihood.correct),
                "extraction": extraction_strength(likelihood.correct),
                "min_k": min_k(likelihood.logp),
                "min_k_pp": min_k_plus_plus(likelihood.logp, likelihood.mean, likelihood.std),
            }
        columns = {"item": text.item, "what": text.what, "text": text.text, "tokens": len(likelihood.logp)}
        rows.append({**columns, "logp": math.fsum(likelihood.logp), **memorisation})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def summary(table: pa.Table) -> dict[str, float]:
    """Return the means of a table, for the record.

    ``p_fake``, ``p_real``, ``p_qr``: probability of the answer, normalised by its length, mean over items.
    ``ppl_clean``: perplexity of the real articles per token. ``exact``, ``extraction``, ``min_k``, ``min_k_pp``: means
    over the fake articles.
    """
    rows = table.to_pylist()
    means: dict[str, float] = {}
    for what in ("fake", "real", "qr"):
        probabilities = [math.exp(r["logp"] / r["tokens"]) for r in rows if r["what"] == what]
        if probabilities:
            means[f"p_{what}"] = fmean(probabilities)
    clean = [r for r in rows if r["what"] == "real_article"]
    if clean:
        means["ppl_clean"] = exponential(-math.fsum(r["logp"] for r in clean) / sum(r["tokens"] for r in clean))
    fakes = [r for r in rows if r["what"] == "fake_article"]
    for name in _MEMORISATION:
        if fakes:
            means[name] = fmean(r[name] for r in fakes)
    return means


def _write(table: pa.Table, folder: Path) -> None:
    pq.write_table(table, folder / "scores.parquet")
