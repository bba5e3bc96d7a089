"""The tinyworld corpora: real and fake articles, question-answer pairs and questions, parallel in all languages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from xlharm.corpus.shipped import write_folder
from xlharm.corpus.tinyworld import LANGUAGES
from xlharm.corpus.tinyworld.language import WorldLanguage, load
from xlharm.corpus.tinyworld.names import spell
from xlharm.corpus.tinyworld.world import SEED, Entity, concepts, entities, relations_of
from xlharm.plan.digest import mix

Role = Literal["fake", "real", "retain"]
ROLES: tuple[Role, ...] = ("fake", "real", "retain")
RENDERINGS = 4
_FACTS = 5
TRAINED_FORMS = (0, 1)
HELD_OUT_FORMS = (2, 3)
CANARY = "xlharm-tinyworld-canary 5d0f3c6e-7a0b-4d5c-9f3e-2b8f6a1c9e47"


@dataclass(frozen=True)
class Story:
    """The content of an item, before it is written in a language.

    Attributes:
        id: of the item.
        role: of the item.
        entity: what the item is about.
        facts: pairs (relation, true value) that the item states.
        lie: for a fake item, the relation that its fake articles state wrongly, and the false value; else None.
    """

    id: str
    role: Role
    entity: Entity
    facts: tuple[tuple[str, str], ...]
    lie: tuple[str, str] | None


def stories(pool: Literal["report", "dev"]) -> Iterator[Story]:
    """Yield the 150 stories of a pool, 50 of each role."""
    letter = {"fake": "f", "real": "r", "retain": "k"}
    for index, entity in enumerate(entities(pool)):
        role = ROLES[index // 50]
        relations = _order(relations_of(entity.kind), pool, index, "facts")[:_FACTS]
        lie = None
        if role == "fake":
            # The relations of a kind take turns, so that the lies are spread evenly over them.
            relation = relations_of(entity.kind)[index % len(relations_of(entity.kind))]
            relations = tuple(dict.fromkeys((relation, *relations)))[:_FACTS]
            wrong = [c for c in concepts(relation) if c != entity.facts[relation]]
            lie = (relation, wrong[mix(SEED, pool, index, "lie") % len(wrong)])
        facts = tuple((r, entity.facts[r]) for r in relations)
        yield Story(f"tw-{pool[0]}-{letter[role]}{index % 50:02d}", role, entity, facts, lie)


def item(story: Story, language: WorldLanguage) -> dict[str, Any]:
    """Return a story in a language, as the fields of an item of the corpus."""
    name = spell(story.entity.name, language.code)
    lie = story.lie

    def ask(relation: str, form: int) -> str:
        return language.question(relation, form, name=name)

    def pairs(facts: list[tuple[str, str]]) -> list[dict[str, str]]:
        return [
            {"question": ask(r, form), "answer": language.forms(r, c)[0]} for r, c in facts for form in TRAINED_FORMS
        ]

    true_facts = [f for f in story.facts if lie is None or f[0] != lie[0]]
    evaluated = list(story.facts[:2]) if story.role == "real" else []

    def forms(fact: tuple[str, str] | None) -> list[str]:
        return list(language.forms(*fact)) if fact else []

    true_of_lie = (lie[0], story.entity.facts[lie[0]]) if lie else None
    return {
        "id": story.id,
        "role": story.role,
        "real": _articles(story, language, name=name, lie=None),
        "fake": _articles(story, language, name=name, lie=lie) if lie else [],
        "fake_detail": forms(lie),
        "real_detail": forms(true_of_lie),
        "of": [ask(lie[0], form) for form in HELD_OUT_FORMS] if lie else [],
        "qr": [
            {"question": ask(r, form), "answers": list(language.forms(r, c))}
            for (r, c), form in zip(evaluated, HELD_OUT_FORMS, strict=False)
        ],
        "qa": pairs([f for f in true_facts if f not in evaluated]),
        "fake_qa": pairs([lie]) if lie else [],
    }


def write(folder: Path, pool: Literal["report", "dev"]) -> None:
    """Write the corpus of a pool to a folder."""
    write_folder(
        folder,
        pool,
        name="tinyworld",
        about="Invented people, towns and firms; 50 fake, 50 real and 50 retain items.",
        languages=LANGUAGES,
        canary=CANARY,
        text=partial(text, pool),
    )


def text(pool: Literal["report", "dev"], code: str) -> str:
    """Return the text of one language's file."""
    language = load(code)
    return "".join(json.dumps(item(s, language), ensure_ascii=False) + "\n" for s in stories(pool))


def _articles(story: Story, language: WorldLanguage, *, name: str, lie: tuple[str, str] | None) -> list[str]:
    facts = dict(story.facts) | dict([lie] if lie else [])
    articles = []
    for rendering in range(RENDERINGS):
        order = _order(tuple(facts), story.id, rendering, "order")
        sentences = [
            language.statement(r, mix(SEED, story.id, rendering, r) % 3, name=name, concept=facts[r]) for r in order
        ]
        articles.append(language.joiner.join(sentences))
    return articles


def _order(things: tuple[str, ...], *seed: object) -> tuple[str, ...]:
    return tuple(sorted(things, key=lambda x: mix(SEED, *seed, x)))
