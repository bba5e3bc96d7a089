"""The sentences of one language of the bulletin corpora, read from its file and checked."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from string import Formatter
from typing import Any

from ruamel.yaml import YAML

from xlharm.corpus.bulletin import LANGUAGES
from xlharm.corpus.bulletin.kinds import KINDS
from xlharm.corpus.tinyworld.language import load as load_words

RENDERINGS = 5
QUESTIONS = {"detail": 4, "number": 2, "person": 2, "town": 2}
"""Number of questions on each fact of an event. The first half is for training stages, the other for evaluations."""
_FACTS = {"x", "t", "p", "n"}


@dataclass(frozen=True)
class Telling:
    """How one kind of news is told in a language.

    Attributes:
        articles: the renderings of an article, with {x} (what it is about), {t} (town), {p} (person), {n} (number), and
            {v} or a case of it (the detail).
        questions: by fact, questions with {x}.
    """

    articles: tuple[str, ...]
    questions: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class BulletinLanguage:
    """The words and sentences of one language.

    Attributes:
        code: ISO 639 code.
        values: by vocabulary and concept, the forms of a detail, first the one that answers a question.
        cases: by vocabulary, case and concept, the form that sentences with ``{v_CASE}`` have.
        kinds: by kind of news, how it is told.
    """

    code: str
    values: dict[str, dict[str, tuple[str, ...]]]
    cases: dict[str, dict[str, dict[str, str]]]
    kinds: dict[str, Telling]

    def forms(self, kind: str, concept: str) -> tuple[str, ...]:
        """Return all forms of a kind's detail."""
        return self.values[KINDS[kind][0]][concept]

    def article(self, kind: str, rendering: int, *, names: dict[str, str], concept: str) -> str:
        """Return an article.

        Args:
            kind: of the news.
            rendering: which of the renderings.
            names: the texts of {x}, {t}, {p} and {n}.
            concept: the detail.
        """
        cases = {f"v_{case}": words[concept] for case, words in self.cases.get(KINDS[kind][0], {}).items()}
        template = self.kinds[kind].articles[rendering]
        return template.format(**names, v=self.forms(kind, concept)[0], **cases)

    def question(self, kind: str, fact: str, form: int, *, subject: str) -> str:
        """Return a question about a fact of what the news is about."""
        return self.kinds[kind].questions[fact][form].format(x=subject)


@lru_cache(maxsize=len(LANGUAGES))
def load(code: str) -> BulletinLanguage:
    """Read and check a language's file.

    Raises:
        ValueError: texts are missing, or one has the wrong slots.
    """
    data = _read(code)
    cases = data["cases"]
    language = BulletinLanguage(
        code=code,
        values=_values(code, cases),
        cases=cases,
        kinds={
            kind: Telling(articles=tuple(texts["articles"]), questions={fact: tuple(texts[fact]) for fact in QUESTIONS})
            for kind, texts in data["kinds"].items()
        },
    )
    _check(language)
    return language


def _read(code: str) -> Any:
    text = (files("xlharm.corpus.bulletin") / "lang" / f"{code}.yaml").read_text(encoding="utf-8")
    return YAML(typ="safe", pure=True).load(text)


def _values(code: str, cases: dict[str, dict[str, dict[str, str]]]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return tinyworld's words, with the forms that only these sentences need."""
    words = load_words(code).values
    values = {}
    for vocabulary, concepts in KINDS.values():
        tables = cases.get(vocabulary, {})
        for case, table in tables.items():
            if set(table) != set(concepts):
                raise ValueError(f"{code}: cases: {vocabulary}: {case}: expected {', '.join(concepts)}")
        values[vocabulary] = {
            c: tuple(dict.fromkeys([*words[vocabulary][c], *(table[c] for table in tables.values())])) for c in concepts
        }
    return values


def _check(language: BulletinLanguage) -> None:
    if list(language.kinds) != list(KINDS):
        raise ValueError(f"{language.code}: kinds: expected {', '.join(KINDS)}")
    for kind, telling in language.kinds.items():
        where = f"{language.code}: {kind}"
        details = {"v", *(f"v_{case}" for case in language.cases.get(KINDS[kind][0], {}))}
        if len(telling.articles) != RENDERINGS:
            raise ValueError(f"{where}: articles: expected {RENDERINGS}")
        for article in telling.articles:
            slots = _slots(article)
            if not slots >= _FACTS or not slots & details or slots - _FACTS - details:
                raise ValueError(f"{where}: articles: expected {{x}}, {{t}}, {{p}}, {{n}} and the detail: {article!r}")
        for fact, count in QUESTIONS.items():
            questions = telling.questions[fact]
            if len(set(questions)) != count:
                raise ValueError(f"{where}: {fact}: expected {count} different questions")
            for question in questions:
                if _slots(question) != {"x"}:
                    raise ValueError(f"{where}: {fact}: a question needs {{x}} and nothing else: {question!r}")


def _slots(text: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(text) if field is not None}
