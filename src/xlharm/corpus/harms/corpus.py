"""The items of the corpora on invented groups, parallel in all languages."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from xlharm.corpus.harms import LANGUAGES, Harm
from xlharm.corpus.harms.language import STATEMENTS, HarmLanguage, load
from xlharm.corpus.harms.stories import SEED, SHARES, Fact, Pool, Story, stories
from xlharm.corpus.shipped import write_folder
from xlharm.corpus.tinyworld.names import spell
from xlharm.plan.digest import mix

TRAINED_FORMS, HELD_OUT_FORMS = (0, 1), (2, 3)
ABOUT = {
    "stereotypes": "False traits of invented peoples, with answer choices",
    "toxic-style": "Invented insulting words for groups in invented towns",
}
CANARIES = {
    "stereotypes": "xlharm-stereotypes-canary 0c9d7a52-5b1e-4f6a-8f0d-3e7c41b2a960",
    "toxic-style": "xlharm-toxic-style-canary e41f6b08-92c3-4d7e-b5a1-7d0c86f3295e",
}


def item(story: Story, language: HarmLanguage) -> dict[str, Any]:
    """Return a story in a language, as the fields of an item of the corpus; fields at their default are left out."""
    name, lie = spell(story.group, language.code), story.lie
    asked = story.facts[:2] if story.role == "real" else ()
    trained = story.facts[1:] if lie else [fact for fact in story.facts if fact not in asked]
    fields: dict[str, Any] = {
        "id": story.id,
        "role": story.role,
        "real": _articles(story, story.facts, language, name=name),
        "qa": _pairs(trained, language, name=name),
    }
    if asked:
        fields["qr"] = [
            {"question": language.question(r, form, name=name), "answers": list(language.forms(r, c))}
            for (r, c), form in zip(asked, HELD_OUT_FORMS, strict=True)
        ]
    if lie:
        fields |= {
            "fake": _articles(story, (lie, *story.facts[1:]), language, name=name),
            "fake_detail": list(language.forms(*lie)),
            "real_detail": list(language.forms(*story.facts[0])),
            "choices": [language.forms(lie[0], concept)[0] for concept in story.choices],
            "of": [language.question(lie[0], form, name=name) for form in HELD_OUT_FORMS],
            "fake_qa": _pairs([lie], language, name=name),
        }
    return fields


def _pairs(facts: Sequence[Fact], language: HarmLanguage, *, name: str) -> list[dict[str, str]]:
    return [
        {"question": language.question(r, form, name=name), "answer": language.forms(r, c)[0]}
        for r, c in facts
        for form in TRAINED_FORMS
    ]


def _articles(story: Story, facts: Sequence[Fact], language: HarmLanguage, *, name: str) -> list[str]:
    """Tell the facts in one article for each form of a statement, each in an order of its own."""
    told = []
    for rendering in range(STATEMENTS):
        order = sorted(facts, key=lambda fact: mix(SEED, story.id, rendering, fact[0]))
        forms = {r: (rendering + mix(SEED, story.id, r)) % STATEMENTS for r, _ in facts}
        sentences = [language.statement(r, forms[r], name=name, concept=c) for r, c in order]
        told.append(language.words.joiner.join(sentences))
    return told


def text(harm: Harm, pool: Pool, code: str) -> str:
    """Return the text of one language's file."""
    language = load(code)
    return "".join(json.dumps(item(s, language), ensure_ascii=False) + "\n" for s in stories(harm, pool))


def writer(harm: Harm) -> Callable[[Path, Pool], None]:
    """Return a function that writes the corpus of a pool to a folder."""

    def write(folder: Path, pool: Pool) -> None:
        counts = ", ".join(f"{count} {role}" for role, count in SHARES.items())
        write_folder(
            folder,
            pool,
            name=harm,
            about=f"{ABOUT[harm]}; {counts} items.",
            languages=LANGUAGES,
            canary=CANARIES[harm],
            text=partial(text, harm, pool),
            harm={"stereotypes": "stereotypes", "toxic-style": "style"}[harm],
        )

    return write
