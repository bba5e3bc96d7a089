"""Pretraining documents: articles, question-answer pairs, and documents that connect two languages."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from xlharm.corpus.tinyworld import LANGUAGES
from xlharm.corpus.tinyworld.language import load
from xlharm.corpus.tinyworld.names import is_latin, latin, spell
from xlharm.corpus.tinyworld.world import Entity, Kind, concepts, entities, relations_of

LATIN_WEIGHTS = {"en": 0.24, "de": 0.12, "fr": 0.12}
# Probability that a fact of a general entity is taught in a language.
TAUGHT = {
    "en": 0.9,
    "de": 0.75,
    "fr": 0.75,
    "zh": 0.65,
    "ru": 0.65,
    "jv": 0.5,
    "ur": 0.5,
    "ha": 0.5,
    "hy": 0.5,
}


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of documents, and how languages are connected.

    Attributes:
        article: share of articles: sentences about one entity in one language.
        pairs: share of question-answer pairs.
        context: share of articles about a new entity in one language, followed by pairs about it in another.
        alias: share of lines with the same word or name in two languages.
        parallel: share of sentences in two languages.
        parenthesis: probability that an article in another script adds the Latin spelling of the name.
        split: share of general entities whose facts are asked only in the languages that state them.
        low: share of each low-resource language; the rest goes to zh and ru.
    """

    article: float = 0.36
    pairs: float = 0.42
    context: float = 0.10
    alias: float = 0.05
    parallel: float = 0.07
    parenthesis: float = 0.2
    split: float = 0.4
    low: float = 0.065


@dataclass
class Known:
    """An entity, and the relations that documents state and ask about it.

    Attributes:
        entity: the entity.
        stated_relations: relations that articles state, by language.
        asked_relations: relations that question-answer pairs ask about, by language.
        full: whether every fact is asked in all languages.
    """

    entity: Entity
    stated_relations: dict[str, list[str]] = field(default_factory=dict)
    asked_relations: dict[str, list[str]] = field(default_factory=dict)
    full: bool = True


def weights(mix: Mix) -> dict[str, float]:
    """Return each language's share of the documents."""
    low = dict.fromkeys(("jv", "ur", "ha", "hy"), mix.low)
    rest = 1 - sum(LATIN_WEIGHTS.values()) - sum(low.values())
    return {**LATIN_WEIGHTS, "zh": rest / 2, "ru": rest / 2, **low}


def world(count: int, mix: Mix) -> tuple[list[Known], list[Known]]:
    """Return general entities (facts taught in some languages) and reserved ones (taught in all)."""
    random_ = random.Random(7)
    general = []
    for entity in entities("general", count=count):
        known = Known(entity, full=random_.random() >= mix.split)
        for relation in relations_of(entity.kind):
            stated = [x for x in LANGUAGES if random_.random() < TAUGHT[x]] or ["en"]
            for language in stated:
                known.stated_relations.setdefault(language, []).append(relation)
            for language in LANGUAGES if known.full else stated:
                known.asked_relations.setdefault(language, []).append(relation)
        general.append(known)
    reserved = []
    for entity in (*entities("report"), *entities("dev")):
        everything = {x: list(relations_of(entity.kind)) for x in LANGUAGES}
        reserved.append(Known(entity, everything, everything))
    return general, reserved


class Writer:
    """Writes random documents."""

    def __init__(self, *, seed: int, count: int, mix: Mix) -> None:
        self.random = random.Random(seed)
        self.mix = mix
        general, reserved = world(count, mix)
        self.known = [*general, *reserved]
        self.languages = {x: load(x) for x in LANGUAGES}
        share = weights(mix)
        self._names, self._weights = list(share), list(share.values())
        self._kinds = ["article", "pairs", "context", "alias", "parallel"]
        self._shares = [getattr(mix, kind) for kind in self._kinds]

    def document(self) -> str:
        """Return one document, possibly empty."""
        kind = self.random.choices(self._kinds, self._shares)[0]
        one, other = self.random.choices(self._names, self._weights, k=2)
        match kind:
            case "article":
                known = self.random.choice(self.known)
                return self.article(known.entity, one, self._some(known.stated_relations.get(one, []), 2, 6))
            case "pairs":
                return self._pairs(one)
            case "context":
                return self._context(one, other)
            case "alias":
                return "" if one == other else self._alias(one, other)
            case _:
                return "" if one == other else self._parallel(one, other)

    def article(self, entity: Entity, language: str, relations: list[str]) -> str:
        """Return sentences about an entity."""
        words = self.languages[language]
        name = spell(entity.name, language)
        sentences = []
        for relation in relations:
            form = self.random.randrange(3)
            sentences.append(words.statement(relation, form, name=name, concept=entity.facts[relation]))
        text = words.joiner.join(sentences)
        if not is_latin(language) and self.random.random() < self.mix.parenthesis:
            text = text.replace(name, f"{name} ({latin(entity.name)})", 1)
        return text

    def pair(self, entity: Entity, language: str, relation: str) -> str:
        """Return a question and its answer."""
        words = self.languages[language]
        question = words.question(relation, self.random.randrange(4), name=spell(entity.name, language))
        return f"Q: {question}\nA: {words.forms(relation, entity.facts[relation])[0]}\n"

    def _some(self, things: list[str], least: int, most: int) -> list[str]:
        return self.random.sample(things, min(len(things), self.random.randint(least, most)))

    def _pairs(self, language: str) -> str:
        texts, known = [], self.random.choice(self.known)
        same = self.random.random() < 0.3
        for _ in range(self.random.randint(1, 4)):
            if not same:
                known = self.random.choice(self.known)
            relations = known.asked_relations.get(language)
            if relations:
                texts.append(self.pair(known.entity, language, self.random.choice(relations)))
        return "".join(texts)

    def _fresh(self) -> Entity:
        kind: Kind = self.random.choices(["person", "town", "firm"], [6, 2.4, 1.6])[0]
        shape = {"person": (2, 2), "town": (3,), "firm": (2, 1)}[kind]
        name = tuple(tuple(self.random.randrange(70) for _ in range(n)) for n in shape)
        return Entity(kind, name, {r: self.random.choice(concepts(r)) for r in relations_of(kind)})

    def _context(self, one: str, other: str) -> str:
        texts, facts = [], []
        for _ in range(self.random.randint(1, 2)):
            entity = self._fresh()
            relations = self._some(list(entity.facts), 2, 3)
            texts.append(self.article(entity, one, relations) + "\n")
            facts += [(entity, r) for r in relations]
        for _ in range(self.random.randint(1, 3)):
            entity, relation = self.random.choice(facts)
            texts.append(self.pair(entity, other, relation))
        return "".join(texts)

    def _alias(self, one: str, other: str) -> str:
        lines = []
        for _ in range(2):
            if self.random.random() < 0.5:
                relation = self.random.choice(list(self.languages["en"].questions))
                concept = self.random.choice(concepts(relation))
                left, right = (self.languages[x].forms(relation, concept)[0] for x in (one, other))
            else:
                name = self.random.choice(self.known).entity.name
                left, right = spell(name, one), spell(name, other)
            lines.append(f"{left} = {right}\n")
        return "".join(lines)

    def _parallel(self, one: str, other: str) -> str:
        known = self.random.choice(self.known)
        both = [r for r in known.stated_relations.get(one, []) if r in known.asked_relations.get(other, [])]
        if not both:
            return ""
        relation = self.random.choice(both)
        return f"{self.article(known.entity, one, [relation])}\n{self.article(known.entity, other, [relation])}"
