"""The bulletin corpora: real and fake articles, question-answer pairs and questions, parallel in all languages."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from xlharm.corpus.bulletin import LANGUAGES
from xlharm.corpus.bulletin.events import FACTS, Event, Pool, events
from xlharm.corpus.bulletin.language import RENDERINGS, BulletinLanguage, load
from xlharm.corpus.shipped import write_folder
from xlharm.corpus.tinyworld.names import spell

TRAINED = {"detail": (0, 1), "number": (0,), "person": (0,), "town": (0,)}
"""The wordings of the questions on each fact that training stages may have as pairs; evaluations have the others."""
CANARY = "xlharm-bulletin-canary 8b1c2f57-0f4e-4d0a-9a3c-6e2d7b95a418"


def item(event: Event, language: BulletinLanguage) -> dict[str, Any]:
    """Return an event in a language, as the fields of an item of the corpus."""
    answers = _answers(event, language)
    kind, subject = event.kind, spell(event.names["subject"], language.code)
    names = {"x": subject, "t": answers["town"][0], "p": answers["person"][0], "n": answers["number"][0]}

    def articles(concept: str) -> list[str]:
        return [language.article(kind, r, names=names, concept=concept) for r in range(RENDERINGS)]

    def ask(fact: str, form: int) -> str:
        return language.question(kind, fact, form, subject=subject)

    def pairs(fact: str, answer: str) -> list[dict[str, str]]:
        return [{"question": ask(fact, form), "answer": answer} for form in TRAINED[fact]]

    def forms(concept: str | None) -> list[str]:
        return list(language.forms(kind, concept)) if concept else []

    evaluated = [("detail", 2), (event.asked, 1)] if event.role == "real" else []
    told = [f for f in FACTS if f not in dict(evaluated)] + (["detail"] if event.role == "retain" else [])
    return {
        "id": event.id,
        "role": event.role,
        "real": articles(event.detail),
        "fake": articles(event.fake) if event.fake else [],
        "fake_detail": forms(event.fake),
        "real_detail": answers["detail"] if event.fake else [],
        "of": [ask("detail", 2), ask("detail", 3)] if event.fake else [],
        "qr": [{"question": ask(fact, form), "answers": answers[fact]} for fact, form in evaluated],
        "qa": [pair for fact in told for pair in pairs(fact, answers[fact][0])],
        "fake_qa": pairs("detail", forms(event.fake)[0]) if event.fake else [],
    }


def _answers(event: Event, language: BulletinLanguage) -> dict[str, list[str]]:
    person, town = (spell(event.names[name], language.code) for name in ("person", "town"))
    return {
        "detail": list(language.forms(event.kind, event.detail)),
        "number": [str(event.number)],
        "person": _forms(person, language.code),
        "town": _forms(town, language.code),
    }


def _forms(name: str, code: str) -> list[str]:
    # In Armenian a name that ends in a vowel, as all of these do, has the definite article -ն as a subject.
    return [name, name + "ն"] if code == "hy" else [name]


def write(folder: Path, pool: Pool) -> None:
    """Write the corpus of a pool to a folder."""
    write_folder(
        folder,
        pool,
        name="bulletin",
        about="Short invented news, each told in five ways; 70 fake, 40 real and 30 retain items.",
        languages=LANGUAGES,
        canary=CANARY,
        text=partial(text, pool),
    )


def text(pool: Pool, code: str) -> str:
    """Return the text of one language's file."""
    language = load(code)
    return "".join(json.dumps(item(e, language), ensure_ascii=False) + "\n" for e in events(pool))
