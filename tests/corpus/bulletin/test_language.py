import re
import unicodedata
from importlib.resources import files
from typing import Any

import pytest

from xlharm.corpus.bulletin import LANGUAGES, language
from xlharm.corpus.bulletin.corpus import TRAINED
from xlharm.corpus.bulletin.kinds import KINDS
from xlharm.corpus.bulletin.language import QUESTIONS, RENDERINGS, load
from xlharm.corpus.match import contains, normalise

ALL = pytest.mark.parametrize("code", LANGUAGES)
NAMES = {"x": "X", "t": "T", "p": "P", "n": "88"}


@ALL
def test_every_article_says_its_detail_and_no_other_of_the_vocabulary(code: str) -> None:
    loaded = load(code)
    for kind, (_, concepts) in KINDS.items():
        for concept in concepts:
            others = [form for other in concepts if other != concept for form in loaded.forms(kind, other)]
            for rendering in range(RENDERINGS):
                article = loaded.article(kind, rendering, names=NAMES, concept=concept)
                assert contains(article, loaded.forms(kind, concept), language=code), (kind, concept, article)
                assert not contains(article, others, language=code), (kind, concept, article)


@ALL
def test_no_question_says_a_detail(code: str) -> None:
    loaded = load(code)
    for kind, (_, concepts) in KINDS.items():
        forms = [form for concept in concepts for form in loaded.forms(kind, concept)]
        for questions in loaded.kinds[kind].questions.values():
            assert not any(contains(question, forms, language=code) for question in questions), kind


@ALL
def test_no_form_stands_for_two_details(code: str) -> None:
    loaded = load(code)
    for kind, (_, concepts) in KINDS.items():
        forms = [form for c in concepts for form in {normalise(f, code) for f in loaded.forms(kind, c)}]
        assert len(set(forms)) == len(forms), kind


@ALL
def test_what_evaluations_ask_is_worded_otherwise_than_what_is_trained(code: str) -> None:
    for kind, telling in load(code).kinds.items():
        articles = " ".join(telling.articles)
        for fact, questions in telling.questions.items():
            assert len(questions) == QUESTIONS[fact] == 2 * len(TRAINED[fact])
            held_out = [q for i, q in enumerate(questions) if i not in TRAINED[fact]]
            assert not any(question in articles for question in held_out), (kind, fact)


@ALL
def test_renderings_and_questions_differ_from_one_another(code: str) -> None:
    tellings = load(code).kinds.values()
    texts = [t for k in tellings for t in (*k.articles, *(q for asked in k.questions.values() for q in asked))]
    assert len(set(texts)) == len(texts)


@ALL
def test_texts_are_normalised(code: str) -> None:
    text = (files("xlharm.corpus.bulletin") / "lang" / f"{code}.yaml").read_text(encoding="utf-8")
    assert unicodedata.is_normalized("NFC", text)


BRIDGE = ("kinds", "bridge")


@pytest.mark.parametrize(
    ("path", "wrong", "complaint"),
    [
        ((*BRIDGE, "articles", 0), "{x} {t} {p} {n}", "and the detail"),
        ((*BRIDGE, "articles", 0), "{x} {t} {p} {v}", "{n}"),
        ((*BRIDGE, "articles", 0), "{x} {t} {p} {n} {v_gen}", "and the detail"),
        ((*BRIDGE, "articles"), ["{x} {t} {p} {n} {v}"], "articles: expected 5"),
        ((*BRIDGE, "town", 0), "Where?", "needs {x}"),
        ((*BRIDGE, "town", 0), "Is {x} in {t}?", "nothing else"),
        ((*BRIDGE, "town"), ["Where is {x}?", "Where is {x}?"], "2 different questions"),
        (("cases",), {"colour": {"gen": {"red": "red"}}}, "cases: colour: gen: expected red, blue"),
        (("kinds",), {}, "kinds: expected bridge"),
    ],
)
def test_malformed_files_are_refused(
    monkeypatch: pytest.MonkeyPatch, path: tuple[str | int, ...], wrong: Any, complaint: str
) -> None:
    data = language._read("en")
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    monkeypatch.setattr(language, "_read", lambda _: data)
    with pytest.raises(ValueError, match=re.escape(complaint)):
        load.__wrapped__("en")
