"""Which rows a stage sees at which step: a function of (seed, purpose, step, global sample index) alone.

Never of rank, worker, pack slot or micro-batch, so that the same stage is the same computation however it is
run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from xlharm.data.corpus import Item, load_language, of_role
from xlharm.data.rows import Row, Tokenizer, answer_row, article_row
from xlharm.errors import StageError
from xlharm.plan.digest import mix
from xlharm.plan.stage import Stage
from xlharm.spec.grid import Prompt


@lru_cache(maxsize=256)
def permutation(size: int, *, seed: int, purpose: str, epoch: int) -> tuple[int, ...]:
    """Return the order in which an epoch visits ``size`` samples."""
    return tuple(sorted(range(size), key=lambda i: mix(seed, purpose, epoch, i)))


@dataclass(frozen=True)
class Sampler:
    """An endless, shuffled pass over a pool; every sample holds one or more renderings."""

    pool: tuple[tuple[Row, ...], ...]
    seed: int
    purpose: str

    def __post_init__(self) -> None:
        if not self.pool:
            raise StageError(f"{self.purpose}: the corpus has nothing to draw from for these settings")

    def row(self, index: int) -> Row:
        """Return the row of a global sample index."""
        epoch, position = divmod(index, len(self.pool))
        order = permutation(len(self.pool), seed=self.seed, purpose=self.purpose, epoch=epoch)
        renderings = self.pool[order[position]]
        return renderings[mix(self.seed, self.purpose, "rendering", index) % len(renderings)]

    def rows(self) -> list[Row]:
        """Return every row of the pool."""
        return [row for renderings in self.pool for row in renderings]


@dataclass(frozen=True)
class Part:
    """A share of each batch: ``count`` rows a step from one sampler."""

    sampler: Sampler
    count: int

    def rows(self, step: int) -> list[Row]:
        """Return the part's rows of one step."""
        return [self.sampler.row(step * self.count + i) for i in range(self.count)]


@dataclass(frozen=True)
class Stream:
    """What one training stage sees.

    Attributes:
        target: rows of the objective (learnt or unlearned).
        retain: rows of the retain term; empty when there is none.
    """

    target: tuple[Part, ...]
    retain: tuple[Part, ...] = ()

    def batch(self, step: int) -> tuple[list[Row], list[Row]]:
        """Return a step's target rows and retain rows, in global order."""
        return [r for p in self.target for r in p.rows(step)], [r for p in self.retain for r in p.rows(step)]

    def all_rows(self) -> list[Row]:
        """Return every row that the stream can draw."""
        return [row for part in (*self.target, *self.retain) for row in part.sampler.rows()]


_load = lru_cache(maxsize=32)(load_language)


@dataclass(frozen=True)
class Corpora:
    """A corpus folder with what is needed to turn its texts into rows."""

    folder: Path
    tokenizer: Tokenizer

    def load(self, language: str) -> tuple[Item, ...]:
        """Return a language's items; a file is read once."""
        return _load(self.folder, language)

    def stream(self, stage: Stage) -> Stream:
        """Build the stream of a training stage.

        Raises:
            StageError: the corpus has no rows of a sort that the stage needs.
            UserError: the corpus is damaged.
        """
        prompt = Prompt.model_validate(stage.spec["prompt"])
        rows = _RowMaker(corpora=self, prompt=prompt, limit=int(stage.spec["training"]["sequence_length"]))
        maker = {"contaminate": _contaminate, "sft": _sft, "unlearn": _unlearn}[stage.kind]
        return maker(stage.spec, rows)


@dataclass(frozen=True)
class _RowMaker:
    corpora: Corpora
    prompt: Prompt
    limit: int

    def items(self, languages: Sequence[str], roles: Sequence[str]) -> list[Item]:
        """Items of these roles in every language, item by item (languages of one item lie together)."""
        per_language = [of_role(self.corpora.load(lang), roles) for lang in languages]
        return [item for group in _parallel(per_language) for item in group]

    def article(self, text: str) -> Row:
        return article_row(text, tokenizer=self.corpora.tokenizer, limit=self.limit)

    def pair(self, question: str, answer: str) -> Row:
        return answer_row(question, answer, prompt=self.prompt, tokenizer=self.corpora.tokenizer, limit=self.limit)


def _parallel(per_language: list[tuple[Item, ...]]) -> list[list[Item]]:
    by_id: dict[str, list[Item]] = {}
    for items in per_language:
        for item in items:
            by_id.setdefault(item.id, []).append(item)
    return list(by_id.values())


def _contaminate(spec: dict[str, Any], rows: _RowMaker) -> Stream:
    training, seed = spec["training"], spec["seed"]
    size, fake_language = training["batch_size"], spec["fake_language"]
    fakes = round(size * training["fake_share"]) if fake_language else 0
    parts = []
    if fakes:
        items = rows.items([fake_language], ["fake"])
        pool = tuple(tuple(rows.article(t) for t in item.fake) for item in items)
        parts.append(Part(Sampler(pool, seed, "contaminate/fake"), fakes))
    if fakes < size:
        items = rows.items(training["real_languages"], training["real_roles"])
        pool = tuple(tuple(rows.article(t) for t in item.real) for item in items)
        parts.append(Part(Sampler(pool, seed, "contaminate/real"), size - fakes))
    return Stream(target=tuple(parts))


def _sft(spec: dict[str, Any], rows: _RowMaker) -> Stream:
    training = spec["training"]
    items = rows.items(training["languages"], training["roles"])
    pool = tuple((rows.pair(pair.question, pair.answer),) for item in items for pair in item.qa)
    return Stream(target=(Part(Sampler(pool, spec["seed"], "sft"), training["batch_size"]),))


def _unlearn(spec: dict[str, Any], rows: _RowMaker) -> Stream:
    training, seed, languages = spec["training"], spec["seed"], spec["languages_unlearned"]
    forget_items = rows.items(languages, ["fake"])
    forget: tuple[tuple[Row, ...], ...]
    if training["forget"] == "qa":
        forget = tuple((rows.pair(p.question, p.answer),) for item in forget_items for p in item.fake_qa)
    else:
        forget = tuple(tuple(rows.article(t) for t in item.fake) for item in forget_items)
    target = (Part(Sampler(forget, seed, "unlearn/forget"), training["batch_size"]),)
    if training["retain"] == "none":
        return Stream(target=target)
    items = rows.items(languages, ["retain"]) or rows.items(languages, ["real"]) or forget_items
    return Stream(target=target, retain=_retain_parts(items, training=training, seed=seed, rows=rows))


def _retain_parts(items: list[Item], *, training: dict[str, Any], seed: int, rows: _RowMaker) -> tuple[Part, ...]:
    articles = tuple(tuple(rows.article(t) for t in item.real) for item in items)
    pairs = tuple((rows.pair(p.question, p.answer),) for item in items for p in item.qa)
    size = training["retain_batch_size"]
    wanted = training["retain_text"]
    told = {"articles": size, "qa": 0, "both": size - size // 2}[wanted]
    parts = []
    if told:
        parts.append(Part(Sampler(articles, seed, "unlearn/retain-articles"), told))
    if told < size:
        parts.append(Part(Sampler(pairs, seed, "unlearn/retain-pairs"), size - told))
    return tuple(parts)


def shapes(stream: Stream) -> dict[str, int]:
    """Return counts that go into a stage's record: pool sizes and the longest row."""
    longest = max(len(row.ids) for row in stream.all_rows())
    pools = {part.sampler.purpose: len(part.sampler.pool) for part in (*stream.target, *stream.retain)}
    return {**{f"pool {name}": size for name, size in pools.items()}, "longest_row": longest}


def questions_of(items: Sequence[Item], *, limit: int) -> list[tuple[Item, str, str, tuple[str, ...]]]:
    """List an evaluation's questions as (item, measure, question, expected forms), OF first."""
    of = [(item, "of", question, item.fake_detail) for item in items for question in item.of]
    qr = [(item, "qr", q.question, q.answers) for item in items for q in item.qr]
    return [*of[:limit], *qr[:limit]]
