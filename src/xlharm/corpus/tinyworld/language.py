"""The words and sentence forms of one language, read from its file and checked."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from xlharm.corpus.tinyworld import LANGUAGES, RELATIONS


@dataclass(frozen=True)
class WorldLanguage:
    """The words and sentence forms of one language.

    Attributes:
        code: ISO 639 code.
        values: by vocabulary and concept, the forms of a value; articles use the first form.
        statements: by relation, sentences with {e} (entity) and {v} (value).
        questions: by relation, questions with {e}. The first two are for training, the others for evaluation.
    """

    code: str
    values: dict[str, dict[str, tuple[str, ...]]]
    statements: dict[str, tuple[str, ...]]
    questions: dict[str, tuple[str, ...]]

    @property
    def joiner(self) -> str:
        """The text between two sentences."""
        return "" if self.code == "zh" else " "

    def forms(self, relation: str, concept: str) -> tuple[str, ...]:
        """Return all forms of a relation's value."""
        return self.values[RELATIONS[relation][1]][concept]

    def statement(self, relation: str, form: int, *, name: str, concept: str) -> str:
        """Return a sentence that states a fact."""
        return self.statements[relation][form].format(e=name, v=self.forms(relation, concept)[0])

    def question(self, relation: str, form: int, *, name: str) -> str:
        """Return a question about a fact."""
        return self.questions[relation][form].format(e=name)


@lru_cache(maxsize=len(LANGUAGES))
def load(code: str) -> WorldLanguage:
    """Read and check a language's file.

    Raises:
        ValueError: a relation has the wrong number or form of sentences, or the concepts differ from those of English.
    """
    data = _read(code)
    language = WorldLanguage(
        code=code,
        values={v: {c: tuple(forms) for c, forms in words.items()} for v, words in data["vocabularies"].items()},
        statements={r: tuple(x["statements"]) for r, x in data["relations"].items()},
        questions={r: tuple(x["questions"]) for r, x in data["relations"].items()},
    )
    _check(language)
    return language


def _read(code: str) -> Any:
    text = (files("xlharm.corpus.tinyworld") / "lang" / f"{code}.yaml").read_text(encoding="utf-8")
    return YAML(typ="safe", pure=True).load(text)


def _check(language: WorldLanguage) -> None:
    for relation in RELATIONS:
        statements, questions = language.statements[relation], language.questions[relation]
        if (len(statements), len(questions)) != (3, 4):
            raise ValueError(f"{language.code}: {relation}: expected 3 statements and 4 questions")
        if not all(s.count("{e}") == s.count("{v}") == 1 for s in statements):
            raise ValueError(f"{language.code}: {relation}: a statement needs {{e}} and {{v}} once")
        if not all(q.count("{e}") == 1 and "{v}" not in q for q in questions):
            raise ValueError(f"{language.code}: {relation}: a question needs {{e}} once and no {{v}}")
    if language.code != "en":
        english = load("en")
        same = {v: list(words) for v, words in english.values.items()}
        if {v: list(words) for v, words in language.values.items()} != same:
            raise ValueError(f"{language.code}: its concepts differ from those of English")
