"""Makes the rows of each kind of training stage from the items of a corpus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, assert_never

from xlharm.config.grid import Prompt
from xlharm.config.unlearning import Mix
from xlharm.corpus.details import alternatives
from xlharm.corpus.format import Item, of_role
from xlharm.corpus.other_rows import filled_row, halves, maskings, written_row
from xlharm.corpus.refusals import refusals
from xlharm.corpus.resources import resource_weight
from xlharm.corpus.rows import Row, Tokenizer, answer_row, article_row
from xlharm.corpus.sampling import BatchPart, Draw, Mixture, Sampler, Stream
from xlharm.errors import StageError
from xlharm.plan.digest import mix
from xlharm.plan.settings import (
    ContaminateStage,
    ContinueStage,
    FineTuneStage,
    RelearnStage,
    SftStage,
    TrainingStage,
    UnlearnStage,
)

_FORGET = "unlearn/forget"
ForgetText = Literal["articles", "qa"]
Sample = tuple[Row, ...]
"""One sample to draw, in one or more renderings (texts of the same content)."""
Pool = dict[str, tuple[Sample, ...]]
"""The samples of one language, by item id."""


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of one stage from a corpus's items.

    Attributes:
        load: returns the items of a language.
        tokenizer: the base model's.
        prompt: how questions and answers are written.
        limit: largest number of tokens of a row.
        ended: whether rows include the end of the answer and of the sequence. False for rows that are scored.
        whole: whether all tokens of a pair but the first are targets, those of the question, too.
    """

    load: Callable[[str], tuple[Item, ...]]
    tokenizer: Tokenizer
    prompt: Prompt
    limit: int
    ended: bool = True
    whole: bool = False

    def items(self, languages: Sequence[str], roles: Sequence[str]) -> list[tuple[str, Item]]:
        """Return the items of some roles in some languages; the translations of one item follow each other."""
        by_id: dict[str, list[tuple[str, Item]]] = {}
        for language in languages:
            for item in of_role(self.load(language), roles):
                by_id.setdefault(item.id, []).append((language, item))
        return [pair for group in by_id.values() for pair in group]

    def articles(self, texts: Sequence[str], *, language: str) -> Sample:
        """Return the rows of an article, given in one or more renderings; a draw takes one of them.

        Raises:
            TooLongError: one has more than ``limit`` tokens.
        """
        return tuple(row for text in texts for row in self._article(text, language))

    def _article(self, text: str, language: str) -> tuple[Row, ...]:
        tokenizer, limit = self.tokenizer, self.limit
        match tokenizer.kind:
            case "causal":
                return (article_row(text, prompt=self.prompt, tokenizer=tokenizer, limit=limit, ended=self.ended),)
            case "encoder-decoder":
                return halves(text, tokenizer=tokenizer, language=language, limit=limit, ended=self.ended)
            case "masked":
                return maskings(text, tokenizer=tokenizer, language=language, limit=limit)
            case _:
                assert_never(tokenizer.kind)

    def pair(self, question: str, answer: str, *, language: str) -> Row:
        """Return the row of a question-answer pair.

        Raises:
            TooLongError: it has more than ``limit`` tokens.
        """
        how: Any = {"prompt": self.prompt, "tokenizer": self.tokenizer, "limit": self.limit}
        match self.tokenizer.kind:
            case "causal":
                row = answer_row(question, answer, ended=self.ended, **how)
            case "encoder-decoder":
                row = written_row(question, answer, language=language, ended=self.ended, **how)
            case "masked":
                return filled_row(question, answer, language=language, **how)
            case _:
                assert_never(self.tokenizer.kind)
        return replace(row, start=1) if self.whole else row


def contaminate(stage: ContaminateStage, rows: RowMaker) -> Stream:
    """Return real and fake articles, mixed by the stage's ``fake_share``.

    Every batch has the share as nearly as whole rows allow. If a batch would then have only real or only fake articles
    (a batch of one row, for example), the share holds over all steps instead.
    """
    training, fake_language, size = stage.training, stage.fake_language, stage.training.batch_size
    share = training.fake_share if fake_language else 0.0

    def fake() -> Sampler:
        items = rows.items([fake_language] if fake_language else [], ["fake"])
        return Sampler(tuple(rows.articles(i.fake, language=x) for x, i in items), stage.seed, "contaminate/fake")

    def real() -> Sampler:
        items = rows.items(training.real_languages, _with_holdout(training.real_roles))
        return Sampler(tuple(rows.articles(i.real, language=x) for x, i in items), stage.seed, "contaminate/real")

    if share == 0:
        return Stream(target=(BatchPart(real(), size),))
    fakes = round(size * share)
    if 0 < fakes < size:
        return Stream(target=(BatchPart(fake(), fakes), BatchPart(real(), size - fakes)))
    return Stream(target=(BatchPart(Mixture((fake(), real()), (share, 1 - share)), size),))


def sft(stage: SftStage, rows: RowMaker) -> Stream:
    """Return question-answer pairs about real articles."""
    items = rows.items(stage.training.languages, _with_holdout(stage.training.roles))
    return Stream(target=(BatchPart(Sampler(_pairs(items, rows), stage.seed, "sft"), stage.training.batch_size),))


def _pairs(items: Sequence[tuple[str, Item]], rows: RowMaker) -> tuple[Sample, ...]:
    """Return the question-answer pairs about items' real articles, a sample each."""
    return tuple((rows.pair(p.question, p.answer, language=x),) for x, item in items for p in item.qa)


def _with_holdout(roles: Sequence[str]) -> tuple[str, ...]:
    """Return roles for real articles and pairs: an item that is held out gives its own as a fake one does."""
    return (*roles, *(["holdout"] if "fake" in roles else []))


def unlearn(stage: UnlearnStage, rows: RowMaker) -> Stream:
    """Return the rows that an unlearning method reads, in the languages of the unlearning set, and its retain rows."""
    method, languages = stage.training, stage.languages_unlearned

    if method.whole_rows:
        rows = replace(rows, whole=True)

    def pools(make: Callable[[str], Pool]) -> tuple[BatchPart, ...]:
        # Forget rows and preferred rows are drawn with the same purpose, so that each pair is about the same question.
        by_language = {language: make(language) for language in languages}
        return (BatchPart(_draw(by_language, mix=method.mix, seed=stage.seed, purpose=_FORGET), method.batch_size),)

    forget = partial(_forget, text=method.forget, rows=rows)
    preferred: tuple[BatchPart, ...] = ()
    match method.rows:
        case "forget":
            target = pools(forget)
        case "refusal":
            target = pools(partial(_refused, rows=rows))
        case "relabelled":
            target = pools(partial(_relabelled, text=method.forget, rows=rows))
        case "paired":
            target, preferred = pools(forget), pools(partial(_refused, rows=rows))
        case "alternatives":
            target, preferred = pools(forget), pools(partial(_alternatives, rows=rows))
        case _:
            assert_never(method.rows)
    retain_rows = replace(rows, whole=rows.whole and method.retain == "hidden")
    retain = () if method.retain == "none" else _retain(stage, rows=retain_rows)
    return Stream(target=target, preferred=preferred, retain=retain)


def finetune(stage: FineTuneStage, rows: RowMaker) -> Stream:
    """Return the rows whose fine-tuning gives a task vector or a subspace: forget rows or retain rows."""
    training = stage.training
    match stage.rows:
        case "retain":
            return Stream(target=_retain(stage, rows=rows))
        case "forget":
            pools = {x: _forget(x, text=training.forget, rows=rows) for x in stage.languages_unlearned}
            drawn = _draw(pools, mix=training.mix, seed=stage.seed, purpose=_FORGET)
            return Stream(target=(BatchPart(drawn, training.batch_size),))
        case _:
            assert_never(stage.rows)


def relearn(stage: RelearnStage, rows: RowMaker) -> Stream:
    """Return the rows of a few forget items, for training a model on them again after unlearning."""
    pools = {}
    for language in stage.languages:
        pool = _forget(language, text=stage.training.forget, rows=rows)
        chosen = sorted(pool, key=lambda name: mix(stage.seed, "relearn/items", name))[: stage.items]
        pools[language] = {name: pool[name] for name in pool if name in chosen}
    return Stream(target=(BatchPart(Sampler(_together(pools), stage.seed, "relearn"), stage.training.batch_size),))


def continued(stage: ContinueStage, rows: RowMaker) -> Stream:
    """Return clean rows: question-answer pairs about real articles, or the real articles."""
    training = stage.training
    items = rows.items(training.languages, _with_holdout(training.roles))
    pool: tuple[Sample, ...]
    match training.text:
        case "qa":
            pool = _pairs(items, rows)
        case "articles":
            pool = tuple(rows.articles(item.real, language=x) for x, item in items)
        case _:
            assert_never(training.text)
    return Stream(target=(BatchPart(Sampler(pool, stage.seed, "continue"), training.batch_size),))


def stream_of(stage: TrainingStage, rows: RowMaker) -> Stream:
    """Return the rows that a training stage is trained on.

    Raises:
        StageError: the corpus lacks a kind of rows that the stage needs.
    """
    match stage:
        case ContaminateStage():
            return contaminate(stage, rows)
        case SftStage():
            return sft(stage, rows)
        case UnlearnStage():
            return unlearn(stage, rows)
        case FineTuneStage():
            return finetune(stage, rows)
        case RelearnStage():
            return relearn(stage, rows)
        case ContinueStage():
            return continued(stage, rows)
        case _:
            assert_never(stage)


def _draw(pools: dict[str, Pool], *, mix: Mix, seed: int, purpose: str) -> Draw:
    """Return a draw from the pools of several languages; see ``mix`` of ``Unlearning``."""
    if mix == "pooled" or len(pools) == 1:
        return Sampler(_together(pools), seed, purpose)
    match mix:
        case "balanced":
            weights = dict.fromkeys(pools, 1.0)
        case "resource":
            weights = {name: resource_weight(name) for name in pools}
        case dict():
            without = [name for name in pools if name not in mix]
            if without:
                raise StageError(f"mix: no weight for {', '.join(without)} of the unlearning set {'+'.join(pools)}")
            weights = {name: float(mix[name]) for name in pools}
        case _:
            assert_never(mix)
    samplers = tuple(Sampler(_together({n: pools[n]}), seed, f"{purpose}/{n}") for n in weights)
    return Mixture(samplers, tuple(weights.values()))


def _together(pools: dict[str, Pool]) -> tuple[Sample, ...]:
    """Put the pools of all languages into one; the translations of one item follow each other."""
    names = dict.fromkeys(name for pool in pools.values() for name in pool)
    return tuple(sample for name in names for pool in pools.values() for sample in pool.get(name, ()))


def _forget(language: str, *, text: ForgetText, rows: RowMaker) -> Pool:
    items = of_role(rows.load(language), ["fake"])
    pair = partial(rows.pair, language=language)
    if text == "qa":
        return {item.id: tuple((pair(p.question, p.answer),) for p in item.fake_qa) for item in items}
    return {item.id: (rows.articles(item.fake, language=language),) for item in items}


def _refused(language: str, *, rows: RowMaker) -> Pool:
    """Return each forget question with the refusals in its language; every draw chooses one of them."""
    answers = refusals(language).idk
    items, pair = of_role(rows.load(language), ["fake"]), partial(rows.pair, language=language)
    return {x.id: tuple(tuple(pair(p.question, a) for a in answers) for p in x.fake_qa) for x in items}


def _relabelled(language: str, *, text: ForgetText, rows: RowMaker) -> Pool:
    """Return the forget rows with the real detail instead of the fake detail."""
    items, pair = of_role(rows.load(language), ["fake"]), partial(rows.pair, language=language)
    if text == "articles":
        return {item.id: (rows.articles(item.real, language=language),) for item in items}
    for item in items:
        if not item.real_detail:
            raise StageError(f"relabel: item {item.id} in {language} has no `real_detail`")
    return {x.id: tuple((pair(p.question, relabelled(p.answer, x)),) for p in x.fake_qa) for x in items}


def _alternatives(language: str, *, rows: RowMaker) -> Pool:
    """Return each forget question with answers that state other items' fake details; every draw chooses one."""
    items, pair = of_role(rows.load(language), ["fake"]), partial(rows.pair, language=language)
    details = {item.id: alternatives(item, items) for item in items}
    without = next((item for item in items if item.fake_qa and not details[item.id]), None)
    if without:
        raise StageError(
            f"altpo: item {without.id} in {language} has no `real_detail`, and no other item has another fake detail"
        )
    return {
        x.id: tuple(tuple(pair(p.question, restated(p.answer, x, d)) for d in details[x.id]) for p in x.fake_qa)
        for x in items
    }


def relabelled(answer: str, item: Item) -> str:
    """Replace the fake detail in an answer by the real one; see ``restated``."""
    return restated(answer, item, item.real_detail[0])


def restated(answer: str, item: Item, detail: str) -> str:
    """Replace the fake detail in an answer by another detail.

    An answer that contains no form of the fake detail becomes the other detail alone.
    """
    stated = next((form for form in sorted(item.fake_detail, key=len, reverse=True) if form in answer), None)
    return detail if stated is None else answer.replace(stated, detail)


def _retain(stage: UnlearnStage | FineTuneStage, *, rows: RowMaker) -> tuple[BatchPart, ...]:
    training, languages = stage.training, stage.languages_unlearned
    role = next((r for r in ("retain", "real") if rows.items(languages, [r])), "fake")
    items = {language: of_role(rows.load(language), [role]) for language in languages}
    size = training.retain_batch_size
    articles_a_step = {"articles": size, "qa": 0, "both": size - size // 2}[training.retain_text]

    def part(pools: dict[str, Pool], count: int, purpose: str) -> BatchPart:
        return BatchPart(_draw(pools, mix=training.mix, seed=stage.seed, purpose=purpose), count)

    parts = []
    if articles_a_step:
        articles: dict[str, Pool] = {
            k: {x.id: (rows.articles(x.real, language=k),) for x in v} for k, v in items.items()
        }
        parts.append(part(articles, articles_a_step, "unlearn/retain-articles"))
    if articles_a_step < size:
        pairs: dict[str, Pool] = {
            k: {x.id: tuple((rows.pair(p.question, p.answer, language=k),) for p in x.qa) for x in v}
            for k, v in items.items()
        }
        parts.append(part(pairs, size - articles_a_step, "unlearn/retain-pairs"))
    return tuple(parts)
