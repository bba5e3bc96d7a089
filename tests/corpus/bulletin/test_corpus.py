import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from xlharm.corpus.bulletin import LANGUAGES
from xlharm.corpus.bulletin.corpus import TRAINED, text, write
from xlharm.corpus.bulletin.events import Event, events
from xlharm.corpus.bulletin.language import RENDERINGS, load
from xlharm.corpus.format import load_language
from xlharm.corpus.match import contains
from xlharm.corpus.tinyworld.names import spell

NOTE = 3
"""The rendering that is a list of facts, each in the form that answers a question."""
POOLS = {"report": "bulletin", "dev": "bulletin-dev"}
BOTH = pytest.mark.parametrize("pool", POOLS)
ALL = pytest.mark.parametrize("code", LANGUAGES)


@lru_cache
def lines(pool: str, code: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in text(pool, code).splitlines())


def questions(event: Event, code: str) -> dict[str, tuple[str, int]]:
    """Every question that can be asked about an event, with the fact and the wording."""
    subject = spell(event.names["subject"], code)
    asked = load(code).kinds[event.kind].questions
    return {q.format(x=subject): (fact, i) for fact, texts in asked.items() for i, q in enumerate(texts)}


def asked(line: dict[str, Any], *fields: str) -> list[str]:
    return [q if isinstance(q, str) else q["question"] for field in fields for q in line[field]]


@BOTH
@ALL
@pytest.mark.slow
def test_shipped_corpus_is_what_the_generator_writes(pool: str, code: str) -> None:
    shipped = files("xlharm.assets") / POOLS[pool] / f"{code}.jsonl"
    assert shipped.read_bytes() == text(pool, code).encode("utf-8")


@pytest.mark.slow
@BOTH
def test_shipped_folder_has_its_card_and_nothing_unknown(pool: str, tmp_path: Path) -> None:
    write(tmp_path, pool)
    folder = files("xlharm.assets") / POOLS[pool]
    shipped = {f.name: f.read_bytes() for f in folder.iterdir() if f.name != "README.md"}
    assert (folder / "README.md").is_file()
    assert shipped == {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert all(len(load_language(tmp_path, code)) == 140 for code in LANGUAGES)


@BOTH
@ALL
@pytest.mark.slow
def test_languages_ask_the_same_of_the_same_items(pool: str, code: str) -> None:
    def shape(code: str) -> list[tuple[Any, ...]]:
        return [
            (line["id"], line["role"], [[known[q] for q in asked(line, f)] for f in ("of", "qr", "qa", "fake_qa")])
            for event, line in zip(events(pool), lines(pool, code), strict=True)
            for known in [questions(event, code)]
        ]

    assert shape(code) == shape("en")


@BOTH
@ALL
def test_only_roles_that_need_a_field_have_it(pool: str, code: str) -> None:
    for line in lines(pool, code):
        fake = line["role"] == "fake"
        assert len(set(line["real"])) == RENDERINGS
        assert len(set(line["fake"])) == (RENDERINGS if fake else 0)
        assert len(line["of"]) == len(line["fake_qa"]) == (2 if fake else 0)
        assert bool(line["fake_detail"]) == bool(line["real_detail"]) == fake
        assert len(line["qr"]) == (2 if line["role"] == "real" else 0)
        assert len(line["qa"]) == {"fake": 3, "real": 2, "retain": 5}[line["role"]]


@BOTH
@ALL
def test_evaluations_ask_in_other_words_and_about_facts_that_no_pair_states(pool: str, code: str) -> None:
    for event, line in zip(events(pool), lines(pool, code), strict=True):
        known = questions(event, code)
        assert all(form in TRAINED[fact] for q in asked(line, "qa", "fake_qa") for fact, form in [known[q]])
        assert all(form not in TRAINED[fact] for q in asked(line, "of", "qr") for fact, form in [known[q]])
        assert not {known[q][0] for q in asked(line, "qr")} & {known[q][0] for q in asked(line, "qa")}


@BOTH
@ALL
@pytest.mark.slow
def test_articles_hold_the_details_they_should_and_no_others(pool: str, code: str) -> None:
    for line in lines(pool, code):
        assert all(contains(t, q["answers"], language=code) for t in line["real"] for q in line["qr"]), line["id"]
        if line["role"] == "fake":
            fake, real = line["fake_detail"], line["real_detail"]
            for article in line["fake"]:
                assert contains(article, fake, language=code), line["id"]
                assert not contains(article, real, language=code), line["id"]
            for article in line["real"]:
                assert contains(article, real, language=code), line["id"]
                assert not contains(article, fake, language=code), line["id"]


@BOTH
@ALL
def test_answers_of_pairs_are_right(pool: str, code: str) -> None:
    for line in lines(pool, code):
        for pair in line["qa"]:
            assert contains(line["real"][NOTE], [pair["answer"]], language=code), line["id"]
        assert all(pair["answer"] in line["fake_detail"] for pair in line["fake_qa"])


@BOTH
@ALL
def test_a_real_and_a_fake_rendering_differ_in_the_detail_only(pool: str, code: str) -> None:
    for event, line in zip(events(pool), lines(pool, code), strict=True):
        if event.fake is None:
            continue
        forms = sorted([*line["fake_detail"], *line["real_detail"]], key=len, reverse=True)
        for real, fake in zip(line["real"], line["fake"], strict=True):
            assert _without(real, forms) == _without(fake, forms) != real, line["id"]


def _without(text: str, forms: list[str]) -> str:
    small_words = ("einen ", "eine ", "ein ", "une ", "un ", "du ", "de la ", "de l’", "des ", "de ", "d’")
    for form in forms:
        text = text.replace(form, "…")
    for word in small_words:
        text = text.replace(f"{word}…", "…")
    return text
