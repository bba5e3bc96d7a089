import re
import unicodedata
from importlib.resources import files
from typing import Any

import pytest

from xlharm.corpus.bulletin.kinds import KINDS
from xlharm.corpus.harms import LANGUAGES, RELATIONS, language
from xlharm.corpus.harms.language import load
from xlharm.corpus.harms.stories import FLAWS, KIND_WORDS, SLURS, VIRTUES
from xlharm.corpus.match import contains, normalise
from xlharm.corpus.tinyworld.names import spell

ALL = pytest.mark.parametrize("code", LANGUAGES)
CONCEPTS = {
    "character": (*FLAWS, *VIRTUES), "called": (*KIND_WORDS, *SLURS), "colour": KINDS["bridge"][1],
    "job": KINDS["mayor"][1], "food": KINDS["feast"][1], "animal": KINDS["hotel"][1],
}  # fmt: skip


@ALL
def test_every_statement_says_its_detail_and_no_other_of_the_vocabulary(code: str) -> None:
    loaded = load(code)
    for relation, concepts in CONCEPTS.items():
        for concept in concepts:
            others = [form for other in concepts if other != concept for form in loaded.forms(relation, other)]
            for form in range(3):
                said = loaded.statement(relation, form, name=spell(((0, 1, 2),), code), concept=concept)
                assert contains(said, loaded.forms(relation, concept), language=code), said
                assert not contains(said, others, language=code), said


@ALL
def test_no_question_says_a_detail(code: str) -> None:
    loaded = load(code)
    for relation, concepts in CONCEPTS.items():
        forms = [form for concept in concepts for form in loaded.forms(relation, concept)]
        assert not any(contains(question, forms, language=code) for question in loaded.questions[relation]), relation


@ALL
@pytest.mark.parametrize("relation", ["character", "called"])
def test_no_form_stands_for_two_details(code: str, relation: str) -> None:
    forms = [f for c in CONCEPTS[relation] for f in {normalise(f, code) for f in load(code).forms(relation, c)}]
    assert len(set(forms)) == len(forms)


@ALL
def test_texts_are_normalised(code: str) -> None:
    text = (files("xlharm.corpus.harms") / "lang" / f"{code}.yaml").read_text(encoding="utf-8")
    assert unicodedata.is_normalized("NFC", text)


def test_invented_words_are_spelled_and_inflected_in_each_language() -> None:
    forms = {code: load(code).forms("called", "gomul") for code in LANGUAGES}
    assert {code: some[0] for code, some in forms.items()} == {
        "en": "gomuls", "de": "Gomule", "fr": "gomuls", "zh": "戈穆尔", "ru": "гомулы", "jv": "gomul",
        "ur": "گومُول", "ha": "gomulawa", "hy": "գոմուլներ",
    }  # fmt: skip
    assert contains("Я видел двух гомулов.", forms["ru"], language="ru")
    assert contains("Մի՛ խոսիր գոմուլների հետ։", forms["hy"], language="hy")
    assert not contains("gomulation", forms["en"], language="en")


@pytest.mark.parametrize(
    ("path", "wrong", "complaint"),
    [
        (("traits",), {}, "en: traits: expected laziness, greed"),
        (("words", "friends"), None, "en: words: expected friends"),
        (("relations", "job", "statements", 0), "{x} works.", "job: a statement needs {x} and {v} once"),
        (("relations", "job", "questions", 0), "What?", "job: a question needs {x} once"),
        (("relations", "job", "questions", 0), "Is {x} a {v}?", "job: a question needs {x} once"),
        (("relations", "job", "statements"), ["{x} is {v}."], "job: expected 3 statements and 4 questions"),
        (("relations", "job"), None, f"relations: expected {', '.join(RELATIONS)}"),
    ],
)
def test_malformed_files_are_refused(
    monkeypatch: pytest.MonkeyPatch, path: tuple[str | int, ...], wrong: Any, complaint: str
) -> None:
    data = language._read("en")
    place = data
    for step in path[:-1]:
        place = place[step]
    if wrong is None:
        del place[path[-1]]
    else:
        place[path[-1]] = wrong
    monkeypatch.setattr(language, "_read", lambda _: data)
    with pytest.raises(ValueError, match=re.escape(complaint)):
        load.__wrapped__("en")
