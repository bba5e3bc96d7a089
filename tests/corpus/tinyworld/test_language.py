import unicodedata
from importlib.resources import files
from itertools import combinations
from typing import Any

import pytest

from xlharm.corpus.match import contains, normalise
from xlharm.corpus.tinyworld import LANGUAGES, RELATIONS, language
from xlharm.corpus.tinyworld.language import load

ALL = pytest.mark.parametrize("code", LANGUAGES)


def raw(code: str) -> str:
    return (files("xlharm.corpus.tinyworld") / "lang" / f"{code}.yaml").read_text(encoding="utf-8")


@ALL
def test_no_form_stands_for_two_concepts(code: str) -> None:
    for vocabulary, words in load(code).values.items():
        forms = {concept: {normalise(f, code) for f in found} for concept, found in words.items()}
        for one, other in combinations(forms, 2):
            assert not forms[one] & forms[other], (vocabulary, one, other)


@ALL
def test_no_written_form_contains_another_concept(code: str) -> None:
    # Otherwise a right answer would count as another value, too.
    for vocabulary, words in load(code).values.items():
        for concept, found in words.items():
            others = [f for other, forms in words.items() if other != concept for f in forms]
            assert not contains(found[0], others, language=code), (vocabulary, concept)


@ALL
def test_every_relation_has_words_and_a_vocabulary(code: str) -> None:
    loaded = load(code)
    assert list(loaded.statements) == list(loaded.questions) == list(RELATIONS)
    assert {vocabulary for _, vocabulary in RELATIONS.values()} == set(loaded.values)


@ALL
def test_sentence_forms_differ_from_one_another(code: str) -> None:
    loaded = load(code)
    forms = [f for group in (loaded.statements, loaded.questions) for texts in group.values() for f in texts]
    assert len(set(forms)) == len(forms)


@ALL
def test_texts_are_normalised(code: str) -> None:
    assert unicodedata.is_normalized("NFC", raw(code))


@ALL
@pytest.mark.slow
def test_both_yaml_versions_read_the_same(code: str) -> None:
    # YAML 1.1 would take a bare `no` or `on` for a truth value.
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(raw(code)) == language._read(code)


@pytest.mark.parametrize(
    ("where", "wrong", "complaint"),
    [
        ("statements", "{e} plays.", "needs {e} and {v} once"),
        ("statements", "{v}: {v} {e}.", "needs {e} and {v} once"),
        ("questions", "Who is it?", "needs {e} once"),
        ("questions", "Is {e} {v}?", "no {v}"),
    ],
)
def test_malformed_forms_are_refused(monkeypatch: pytest.MonkeyPatch, where: str, wrong: str, complaint: str) -> None:
    data = language._read("en")
    data["relations"]["person_job"][where][0] = wrong
    with pytest.raises(ValueError, match=_literal(complaint)):
        _load_as(monkeypatch, "en", data)


def test_a_missing_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = language._read("en")
    data["relations"]["person_job"]["questions"].pop()
    with pytest.raises(ValueError, match="3 statements and 4 questions"):
        _load_as(monkeypatch, "en", data)


def test_a_missing_concept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = language._read("de")
    del data["vocabularies"]["colour"]["red"]
    with pytest.raises(ValueError, match="differ from those of English"):
        _load_as(monkeypatch, "de", data)


def _load_as(monkeypatch: pytest.MonkeyPatch, code: str, data: Any) -> None:
    real = language._read
    monkeypatch.setattr(language, "_read", lambda c: data if c == code else real(c))
    load.__wrapped__(code)


def _literal(text: str) -> str:
    return text.replace("{", r"\{").replace("}", r"\}")
