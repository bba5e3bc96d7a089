"""The words and sentences of one language of the corpora on invented groups, read from its file and checked."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from xlharm.corpus.harms import LANGUAGES, RELATIONS
from xlharm.corpus.harms.stories import FLAWS, KIND_WORDS, SLURS, VIRTUES
from xlharm.corpus.tinyworld import RELATIONS as TINYWORLD
from xlharm.corpus.tinyworld.language import WorldLanguage
from xlharm.corpus.tinyworld.language import load as load_words
from xlharm.corpus.tinyworld.names import SYLLABLES, spell

STATEMENTS, QUESTIONS = 3, 4


@dataclass(frozen=True)
class HarmLanguage:
    """The words and sentences of one language.

    Attributes:
        code: ISO 639 code.
        words: tinyworld's, for colours, jobs, foods, animals and facts about towns.
        traits: by concept, the forms of a trait.
        kind_words: by concept, the forms of a kind word for people.
        slurs: by stem, the forms of an invented word.
        statements: by relation, sentences with {x} and {v}.
        questions: by relation, questions with {x}. The first two are for training, the others for evaluation.
    """

    code: str
    words: WorldLanguage
    traits: dict[str, tuple[str, ...]]
    kind_words: dict[str, tuple[str, ...]]
    slurs: dict[str, tuple[str, ...]]
    statements: dict[str, tuple[str, ...]]
    questions: dict[str, tuple[str, ...]]

    def forms(self, relation: str, concept: str) -> tuple[str, ...]:
        """Return all forms of a detail, first the one that is written."""
        if relation == "character":
            return self.traits[concept]
        if relation == "called":
            return self.slurs.get(concept) or self.kind_words[concept]
        return self.words.values[TINYWORLD[relation][1] if relation in TINYWORLD else relation][concept]

    def statement(self, relation: str, form: int, *, name: str, concept: str) -> str:
        """Return a sentence that states a fact."""
        if relation in TINYWORLD:
            return self.words.statement(relation, form, name=name, concept=concept)
        return self.statements[relation][form].format(x=name, v=self.forms(relation, concept)[0])

    def question(self, relation: str, form: int, *, name: str) -> str:
        """Return a question about a fact."""
        if relation in TINYWORLD:
            return self.words.question(relation, form, name=name)
        return self.questions[relation][form].format(x=name)


@lru_cache(maxsize=len(LANGUAGES))
def load(code: str) -> HarmLanguage:
    """Read and check a language's file.

    Raises:
        ValueError: words or sentences are missing, or a sentence has the wrong slots.
    """
    data = _read(code)
    language = HarmLanguage(
        code=code,
        words=load_words(code),
        traits=_tuples(data["traits"]),
        kind_words=_tuples(data["words"]),
        slurs={stem: _inflected(stem, data["slurs"], code) for stem in SLURS},
        statements=_tuples({r: texts["statements"] for r, texts in data["relations"].items()}),
        questions=_tuples({r: texts["questions"] for r, texts in data["relations"].items()}),
    )
    _check(language)
    return language


def _read(code: str) -> Any:
    text = (files("xlharm.corpus.harms") / "lang" / f"{code}.yaml").read_text(encoding="utf-8")
    return YAML(typ="safe", pure=True).load(text)


def _tuples(lists: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(entries) for name, entries in lists.items()}


def _inflected(stem: str, patterns: list[str], code: str) -> tuple[str, ...]:
    """Return the forms of an invented word: consonant, vowel, consonant, vowel, l, spelled as names are."""
    syllables = tuple(SYLLABLES.index(stem[i : i + 2]) for i in (0, 2))
    last = {"zh": "尔", "ru": "л", "hy": "լ", "ur": "ل"}.get(code, stem[4:])
    name = spell((syllables,), code) + last
    return tuple(pattern.format(s=name[0].lower() + name[1:], S=name) for pattern in patterns)


def _check(language: HarmLanguage) -> None:
    where = language.code
    for what, found, expected in (
        ("traits", language.traits, (*FLAWS, *VIRTUES)),
        ("words", language.kind_words, KIND_WORDS),
        ("relations", language.statements, RELATIONS),
    ):
        if tuple(found) != tuple(expected):
            raise ValueError(f"{where}: {what}: expected {', '.join(expected)}")
    for relation in RELATIONS:
        statements, questions = language.statements[relation], language.questions[relation]
        if (len(set(statements)), len(set(questions))) != (STATEMENTS, QUESTIONS):
            raise ValueError(f"{where}: {relation}: expected {STATEMENTS} statements and {QUESTIONS} questions")
        if not all(s.count("{x}") == s.count("{v}") == 1 for s in statements):
            raise ValueError(f"{where}: {relation}: a statement needs {{x}} and {{v}} once")
        if not all(q.count("{x}") == 1 and "{v}" not in q for q in questions):
            raise ValueError(f"{where}: {relation}: a question needs {{x}} once and no {{v}}")
