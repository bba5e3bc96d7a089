"""From a corpus's items to the rows of each kind of training stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xlharm.config.grid import Prompt
from xlharm.corpus.format import Item, of_role
from xlharm.corpus.refusals import refusals
from xlharm.corpus.resources import resource_weight
from xlharm.corpus.rows import Row, Tokenizer, answer_row, article_row
from xlharm.corpus.sampling import Draw, Mixture, Part, Sampler, Stream
from xlharm.errors import StageError
from xlharm.plan.digest import mix

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


def contaminate(spec: dict[str, Any], rows: RowMaker) -> Stream:
    """Real and fake articles by the fake share: in every batch as nearly as whole rows allow.

    Where that would leave one of them out (a batch of 1), the share holds over the steps instead.
    """
    training, seed = spec["training"], spec["seed"]
    size, fake_language = training["batch_size"], spec["fake_language"]
    share = float(training["fake_share"]) if fake_language else 0.0

    def fake() -> Sampler:
        items = rows.items([fake_language], ["fake"])
        return Sampler(tuple(tuple(rows.article(t) for t in i.fake) for i in items), seed, "contaminate/fake")

    def real() -> Sampler:
        items = rows.items(training["real_languages"], training["real_roles"])
        return Sampler(tuple(tuple(rows.article(t) for t in i.real) for i in items), seed, "contaminate/real")

    if share in {0.0, 1.0}:
        return Stream(target=(Part(fake() if share else real(), size),))
    fakes = round(size * share)
    if 0 < fakes < size:
        return Stream(target=(Part(fake(), fakes), Part(real(), size - fakes)))
    return Stream(target=(Part(Mixture((fake(), real()), (share, 1 - share)), size),))


def sft(spec: dict[str, Any], rows: RowMaker) -> Stream:
    """Question-answer pairs on real articles."""
    training = spec["training"]
    items = rows.items(training["languages"], training["roles"])
    pool = tuple((rows.pair(pair.question, pair.answer),) for item in items for pair in item.qa)
    return Stream(target=(Part(Sampler(pool, spec["seed"], "sft"), training["batch_size"]),))


def unlearn(spec: dict[str, Any], rows: RowMaker) -> Stream:
    """Forget rows of the set's languages, what an objective puts in their place, and retain rows."""
    training, languages = spec["training"], spec["languages_unlearned"]
    objective, size = training["objective"], training["batch_size"]
    forget = {lang: _forget(lang, training=training, rows=rows) for lang in languages}
    target: dict[str, Pool] = forget
    preferred: dict[str, Pool] = {}
    if objective in {"idk", "dpo"}:
        refused = {lang: _refused(lang, rows=rows) for lang in languages}
        target, preferred = (refused, {}) if objective == "idk" else (forget, refused)
    if objective == "relabel":
        target = {lang: _relabelled(lang, training=training, rows=rows) for lang in languages}

    def part(pools: dict[str, Pool]) -> tuple[Part, ...]:
        # rows and what is preferred over them are drawn by one name, so that they lie beside each other
        return (Part(_draw(pools, spec=spec, purpose="unlearn/forget"), size),) if pools else ()

    retain = () if training["retain"] == "none" else _retain(spec, rows=rows)
    return Stream(target=part(target), preferred=part(preferred), retain=retain)


def finetune(spec: dict[str, Any], rows: RowMaker) -> Stream:
    """Rows that a task vector or a subspace is taken from: the forget rows, or the retain rows."""
    if spec["rows"] == "retain":
        return Stream(target=_retain(spec, rows=rows))
    training = spec["training"]
    pools = {lang: _forget(lang, training=training, rows=rows) for lang in spec["languages_unlearned"]}
    return Stream(target=(Part(_draw(pools, spec=spec, purpose="unlearn/forget"), training["batch_size"]),))


def relearn(spec: dict[str, Any], rows: RowMaker) -> Stream:
    """Some forget items, in the same language or another: the attack that tests what is left."""
    training, seed = spec["training"], spec["seed"]
    pools = {}
    for lang in spec["languages"]:
        pool = _forget(lang, training=training, rows=rows)
        chosen = sorted(pool, key=lambda name: mix(seed, "relearn/items", name))[: spec["items"]]
        pools[lang] = {name: pool[name] for name in pool if name in chosen}
    return Stream(target=(Part(Sampler(_together(pools), seed, "relearn"), training["batch_size"]),))


def _draw(pools: dict[str, Pool], *, spec: dict[str, Any], purpose: str) -> Draw:
    """Draw from the languages' pools as the method's ``mix`` says."""
    chosen, seed = spec["training"]["mix"], spec["seed"]
    if chosen == "pooled" or len(pools) == 1:
        return Sampler(_together(pools), seed, purpose)
    match chosen:
        case "balanced":
            weights = dict.fromkeys(pools, 1.0)
        case "resource":
            weights = {name: resource_weight(name) for name in pools}
        case _:
            without = [name for name in pools if name not in chosen]
            if without:
                raise StageError(f"mix: {', '.join(without)} of the set {'+'.join(pools)} has no weight")
            weights = {name: float(chosen[name]) for name in pools}
    samplers = tuple(Sampler(_together({n: pools[n]}), seed, f"{purpose}/{n}") for n in weights)
    return Mixture(samplers, tuple(weights.values()))


def _together(pools: dict[str, Pool]) -> tuple[Sample, ...]:
    """Put languages into one pool, item by item (languages of one item lie together)."""
    names = dict.fromkeys(name for pool in pools.values() for name in pool)
    return tuple(sample for name in names for pool in pools.values() for sample in pool.get(name, ()))


def _forget(language: str, *, training: dict[str, Any], rows: RowMaker) -> Pool:
    items = rows.items([language], ["fake"])
    if training["forget"] == "qa":
        return {item.id: tuple((rows.pair(p.question, p.answer),) for p in item.fake_qa) for item in items}
    return {item.id: (tuple(rows.article(t) for t in item.fake),) for item in items}


def _refused(language: str, *, rows: RowMaker) -> Pool:
    """Every forget question with a refusal in its language; which one changes from draw to draw."""
    answers = refusals(language).idk
    items = rows.items([language], ["fake"])
    return {x.id: tuple(tuple(rows.pair(p.question, a) for a in answers) for p in x.fake_qa) for x in items}


def _relabelled(language: str, *, training: dict[str, Any], rows: RowMaker) -> Pool:
    """The forget rows with the real detail in the place of the fake one."""
    items = rows.items([language], ["fake"])
    if training["forget"] == "articles":
        return {item.id: (tuple(rows.article(t) for t in item.real),) for item in items}
    for item in items:
        if not item.real_detail:
            raise StageError(f"relabel: item {item.id} in {language} has no `real_detail`")
    return {x.id: tuple((rows.pair(p.question, relabelled(p.answer, x)),) for p in x.fake_qa) for x in items}


def relabelled(answer: str, item: Item) -> str:
    """Put the real detail where an answer says the fake one; an answer in other words becomes the real detail."""
    said = next((form for form in sorted(item.fake_detail, key=len, reverse=True) if form in answer), None)
    return item.real_detail[0] if said is None else answer.replace(said, item.real_detail[0])


def _retain(spec: dict[str, Any], *, rows: RowMaker) -> tuple[Part, ...]:
    training, languages = spec["training"], spec["languages_unlearned"]
    role = next((r for r in ("retain", "real") if rows.items(languages, [r])), "fake")
    items = {lang: rows.items([lang], [role]) for lang in languages}
    size, wanted = training["retain_batch_size"], training["retain_text"]
    told = {"articles": size, "qa": 0, "both": size - size // 2}[wanted]
    parts = []
    if told:
        articles: dict[str, Pool] = {
            k: {x.id: (tuple(rows.article(t) for t in x.real),) for x in v} for k, v in items.items()
        }
        parts.append(Part(_draw(articles, spec=spec, purpose="unlearn/retain-articles"), told))
    if told < size:
        pairs: dict[str, Pool] = {
            k: {x.id: tuple((rows.pair(p.question, p.answer),) for p in x.qa) for x in v} for k, v in items.items()
        }
        parts.append(Part(_draw(pairs, spec=spec, purpose="unlearn/retain-pairs"), size - told))
    return tuple(parts)


MAKERS: dict[str, Callable[[dict[str, Any], RowMaker], Stream]] = {
    "contaminate": contaminate,
    "sft": sft,
    "finetune": finetune,
    "unlearn": unlearn,
    "relearn": relearn,
}
