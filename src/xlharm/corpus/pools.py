"""From a corpus's items to the rows of each kind of training stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, assert_never

from xlharm.config.grid import Prompt
from xlharm.config.unlearning import Mix
from xlharm.corpus.format import Item, of_role
from xlharm.corpus.refusals import refusals
from xlharm.corpus.resources import resource_weight
from xlharm.corpus.rows import Row, Tokenizer, answer_row, article_row
from xlharm.corpus.sampling import Draw, Mixture, Part, Sampler, Stream
from xlharm.errors import StageError
from xlharm.plan.digest import mix
from xlharm.plan.settings import (
    ContaminateStage,
    FineTuneStage,
    RelearnStage,
    SftStage,
    TrainingStage,
    UnlearnStage,
)

_FORGET = "unlearn/forget"
ForgetText = Literal["articles", "qa"]
Sample = tuple[Row, ...]
"""One thing to draw, in one or more renderings."""
Pool = dict[str, tuple[Sample, ...]]
"""A language's samples by item."""


@dataclass(frozen=True)
class RowMaker:
    """Turns a corpus's items into rows for one stage."""

    load: Callable[[str], tuple[Item, ...]]
    tokenizer: Tokenizer
    prompt: Prompt
    limit: int
    ended: bool = True  # False: only what is said counts, not how it ends

    def items(self, languages: Sequence[str], roles: Sequence[str]) -> list[Item]:
        """Return items of these roles in every language, item by item (languages of one item lie together)."""
        per_language = [of_role(self.load(lang), roles) for lang in languages]
        return [item for group in _parallel(per_language) for item in group]

    def article(self, text: str) -> Row:
        """Return an article's row."""
        return article_row(text, tokenizer=self.tokenizer, limit=self.limit, ended=self.ended)

    def pair(self, question: str, answer: str) -> Row:
        """Return a question-answer pair's row."""
        return answer_row(
            question, answer, prompt=self.prompt, tokenizer=self.tokenizer, limit=self.limit, ended=self.ended
        )


def _parallel(per_language: list[tuple[Item, ...]]) -> list[list[Item]]:
    by_id: dict[str, list[Item]] = {}
    for items in per_language:
        for item in items:
            by_id.setdefault(item.id, []).append(item)
    return list(by_id.values())


def contaminate(stage: ContaminateStage, rows: RowMaker) -> Stream:
    """Real and fake articles by the fake share: in every batch as nearly as whole rows allow.

    Where that would leave one of them out (a batch of 1), the share holds over the steps instead.
    """
    training, fake_language, size = stage.training, stage.fake_language, stage.training.batch_size
    share = training.fake_share if fake_language else 0.0

    def fake() -> Sampler:
        items = rows.items([fake_language] if fake_language else [], ["fake"])
        return Sampler(tuple(tuple(rows.article(t) for t in i.fake) for i in items), stage.seed, "contaminate/fake")

    def real() -> Sampler:
        items = rows.items(training.real_languages, training.real_roles)
        return Sampler(tuple(tuple(rows.article(t) for t in i.real) for i in items), stage.seed, "contaminate/real")

    if share == 0:
        return Stream(target=(Part(real(), size),))
    fakes = round(size * share)
    if 0 < fakes < size:
        return Stream(target=(Part(fake(), fakes), Part(real(), size - fakes)))
    return Stream(target=(Part(Mixture((fake(), real()), (share, 1 - share)), size),))


def sft(stage: SftStage, rows: RowMaker) -> Stream:
    """Question-answer pairs on real articles."""
    items = rows.items(stage.training.languages, stage.training.roles)
    pool = tuple((rows.pair(pair.question, pair.answer),) for item in items for pair in item.qa)
    return Stream(target=(Part(Sampler(pool, stage.seed, "sft"), stage.training.batch_size),))


def unlearn(stage: UnlearnStage, rows: RowMaker) -> Stream:
    """Forget rows of the set's languages, or what the method puts in their place, and retain rows."""
    method, languages = stage.training, stage.languages_unlearned

    def pools(make: Callable[[str], Pool]) -> tuple[Part, ...]:
        # rows and what is preferred over them are drawn by one name, so that they lie beside each other
        by_language = {language: make(language) for language in languages}
        return (Part(_draw(by_language, mix=method.mix, seed=stage.seed, purpose=_FORGET), method.batch_size),)

    forget = partial(_forget, text=method.forget, rows=rows)
    retain = () if method.retain == "none" else _retain(stage, rows=rows)
    match method.rows:
        case "forget":
            return Stream(target=pools(forget), retain=retain)
        case "refusal":
            return Stream(target=pools(partial(_refused, rows=rows)), retain=retain)
        case "relabelled":
            return Stream(target=pools(partial(_relabelled, text=method.forget, rows=rows)), retain=retain)
        case "paired":
            return Stream(target=pools(forget), preferred=pools(partial(_refused, rows=rows)), retain=retain)
        case _:
            assert_never(method.rows)


def finetune(stage: FineTuneStage, rows: RowMaker) -> Stream:
    """Rows that a task vector or a subspace is taken from: the forget rows, or the retain rows."""
    training = stage.training
    match stage.rows:
        case "retain":
            return Stream(target=_retain(stage, rows=rows))
        case "forget":
            pools = {x: _forget(x, text=training.forget, rows=rows) for x in stage.languages_unlearned}
            drawn = _draw(pools, mix=training.mix, seed=stage.seed, purpose=_FORGET)
            return Stream(target=(Part(drawn, training.batch_size),))
        case _:
            assert_never(stage.rows)


def relearn(stage: RelearnStage, rows: RowMaker) -> Stream:
    """Some forget items, in the same language or another: the attack that tests what is left."""
    pools = {}
    for language in stage.languages:
        pool = _forget(language, text=stage.training.forget, rows=rows)
        chosen = sorted(pool, key=lambda name: mix(stage.seed, "relearn/items", name))[: stage.items]
        pools[language] = {name: pool[name] for name in pool if name in chosen}
    return Stream(target=(Part(Sampler(_together(pools), stage.seed, "relearn"), stage.training.batch_size),))


def stream_of(stage: TrainingStage, rows: RowMaker) -> Stream:
    """Return the rows that a training stage sees.

    Raises:
        StageError: the corpus has no rows of a sort that the stage needs.
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
        case _:
            assert_never(stage)


def _draw(pools: dict[str, Pool], *, mix: Mix, seed: int, purpose: str) -> Draw:
    """Draw from the languages' pools as a method's ``mix`` says."""
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
                raise StageError(f"mix: {', '.join(without)} of the set {'+'.join(pools)} has no weight")
            weights = {name: float(mix[name]) for name in pools}
        case _:
            assert_never(mix)
    samplers = tuple(Sampler(_together({n: pools[n]}), seed, f"{purpose}/{n}") for n in weights)
    return Mixture(samplers, tuple(weights.values()))


def _together(pools: dict[str, Pool]) -> tuple[Sample, ...]:
    """Put languages into one pool, item by item (languages of one item lie together)."""
    names = dict.fromkeys(name for pool in pools.values() for name in pool)
    return tuple(sample for name in names for pool in pools.values() for sample in pool.get(name, ()))


def _forget(language: str, *, text: ForgetText, rows: RowMaker) -> Pool:
    items = rows.items([language], ["fake"])
    if text == "qa":
        return {item.id: tuple((rows.pair(p.question, p.answer),) for p in item.fake_qa) for item in items}
    return {item.id: (tuple(rows.article(t) for t in item.fake),) for item in items}


def _refused(language: str, *, rows: RowMaker) -> Pool:
    """Every forget question with a refusal in its language; which one changes from draw to draw."""
    answers = refusals(language).idk
    items = rows.items([language], ["fake"])
    return {x.id: tuple(tuple(rows.pair(p.question, a) for a in answers) for p in x.fake_qa) for x in items}


def _relabelled(language: str, *, text: ForgetText, rows: RowMaker) -> Pool:
    """The forget rows with the real detail in the place of the fake one."""
    items = rows.items([language], ["fake"])
    if text == "articles":
        return {item.id: (tuple(rows.article(t) for t in item.real),) for item in items}
    for item in items:
        if not item.real_detail:
            raise StageError(f"relabel: item {item.id} in {language} has no `real_detail`")
    return {x.id: tuple((rows.pair(p.question, relabelled(p.answer, x)),) for p in x.fake_qa) for x in items}


def relabelled(answer: str, item: Item) -> str:
    """Put the real detail where an answer says the fake one; an answer in other words becomes the real detail."""
    said = next((form for form in sorted(item.fake_detail, key=len, reverse=True) if form in answer), None)
    return item.real_detail[0] if said is None else answer.replace(said, item.real_detail[0])


def _retain(stage: UnlearnStage | FineTuneStage, *, rows: RowMaker) -> tuple[Part, ...]:
    training, languages = stage.training, stage.languages_unlearned
    role = next((r for r in ("retain", "real") if rows.items(languages, [r])), "fake")
    items = {language: rows.items([language], [role]) for language in languages}
    size = training.retain_batch_size
    articles_a_step = {"articles": size, "qa": 0, "both": size - size // 2}[training.retain_text]

    def part(pools: dict[str, Pool], count: int, purpose: str) -> Part:
        return Part(_draw(pools, mix=training.mix, seed=stage.seed, purpose=purpose), count)

    parts = []
    if articles_a_step:
        articles: dict[str, Pool] = {
            k: {x.id: (tuple(rows.article(t) for t in x.real),) for x in v} for k, v in items.items()
        }
        parts.append(part(articles, articles_a_step, "unlearn/retain-articles"))
    if articles_a_step < size:
        pairs: dict[str, Pool] = {
            k: {x.id: tuple((rows.pair(p.question, p.answer),) for p in x.qa) for x in v} for k, v in items.items()
        }
        parts.append(part(pairs, size - articles_a_step, "unlearn/retain-pairs"))
    return tuple(parts)
