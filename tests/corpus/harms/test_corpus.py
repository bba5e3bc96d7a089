import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from xlharm.corpus.format import load_language
from xlharm.corpus.harms import LANGUAGES, Harm
from xlharm.corpus.harms.corpus import HELD_OUT_FORMS, TRAINED_FORMS, text, writer
from xlharm.corpus.harms.language import load
from xlharm.corpus.harms.stories import SLURS, Pool, stories
from xlharm.corpus.match import contains
from xlharm.corpus.tinyworld.names import spell

HARMS = pytest.mark.parametrize("harm", get_args(Harm))
ALL = pytest.mark.parametrize("code", LANGUAGES)


@lru_cache
def lines(harm: Harm, code: str, pool: Pool = "report") -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in text(harm, pool, code).splitlines())


@HARMS
def test_shipped_folder_is_what_the_generator_writes_and_has_a_card(harm: Harm, tmp_path: Path) -> None:
    writer(harm)(tmp_path, "report")
    folder = files("xlharm.assets") / harm
    shipped = {f.name: f.read_bytes() for f in folder.iterdir() if f.name != "README.md"}
    assert (folder / "README.md").is_file()
    assert shipped == {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert all(len(load_language(tmp_path, code)) == 70 for code in LANGUAGES)


@HARMS
@ALL
def test_roles_have_the_fields_that_they_need(harm: Harm, code: str) -> None:
    for line in lines(harm, code):
        role = line["role"]
        assert len(set(line["real"])) == 3
        assert len(set(line.get("fake", ()))) == (3 if role == "fake" else 0)
        counts = {field: len(line.get(field, ())) for field in ("of", "fake_qa", "choices", "qr", "qa")}
        assert (
            counts
            == {
                "fake": {"of": 2, "fake_qa": 2, "choices": 3, "qr": 0, "qa": 2},
                "real": {"of": 0, "fake_qa": 0, "choices": 0, "qr": 2, "qa": 2},
                "retain": {"of": 0, "fake_qa": 0, "choices": 0, "qr": 0, "qa": 6},
            }[role]
        )


@HARMS
@ALL
def test_evaluations_ask_in_other_words_and_about_facts_that_no_pair_states(harm: Harm, code: str) -> None:
    language = load(code)
    for story, line in zip(stories(harm, "report"), lines(harm, code), strict=True):
        name = spell(story.group, code)
        known = {
            language.question(r, form, name=name): (r, form)
            for r, _ in (*story.facts, *([story.lie] if story.lie else []))
            for form in range(4)
        }
        trained = [known[p["question"]] for field in ("qa", "fake_qa") for p in line.get(field, ())]
        asked = [known[q] for q in line.get("of", ())] + [known[q["question"]] for q in line.get("qr", ())]
        assert all(form in TRAINED_FORMS for _, form in trained)
        assert all(form in HELD_OUT_FORMS for _, form in asked)
        assert not {known[q["question"]][0] for q in line.get("qr", ())} & {r for r, _ in trained}


@HARMS
@ALL
def test_articles_say_their_own_detail_and_none_of_the_choices(harm: Harm, code: str) -> None:
    for line in lines(harm, code):
        assert all(contains(t, q["answers"], language=code) for t in line["real"] for q in line.get("qr", ()))
        if line["role"] != "fake":
            continue
        own = {"fake": line["fake_detail"], "real": line["real_detail"]}
        for side, other in (("fake", "real"), ("real", "fake")):
            for article in line[side]:
                assert contains(article, own[side], language=code), (line["id"], article)
                assert not contains(article, [*own[other], *line["choices"]], language=code), (line["id"], article)
        assert all(contains(pair["answer"], own["fake"], language=code) for pair in line["fake_qa"])


@HARMS
@ALL
def test_a_real_and_a_fake_article_differ_in_the_detail_only(harm: Harm, code: str) -> None:
    for line in lines(harm, code):
        for real, fake in zip(line["real"], line.get("fake", ()), strict=bool(line.get("fake"))):
            details = sorted((line["real_detail"][0], line["fake_detail"][0]), key=len, reverse=True)
            assert _without(real, details) == _without(fake, details) != real


def _without(text: str, details: list[str]) -> str:
    for detail in details:
        text = text.replace(detail, "…")
    return text


@HARMS
@ALL
def test_choices_are_the_same_in_all_languages_and_can_be_told_apart(harm: Harm, code: str) -> None:
    language = load(code)
    for story, line in zip(stories(harm, "report"), lines(harm, code), strict=True):
        if story.lie:
            assert line["choices"] == [language.forms(story.lie[0], c)[0] for c in story.choices]
            options = [line["fake_detail"][0], line["real_detail"][0], *line["choices"]]
            assert len(set(options)) == 5
            for i, one in enumerate(options):
                assert not any(contains(other, [one], language=code) for j, other in enumerate(options) if j != i)


@ALL
def test_no_text_but_the_told_ones_has_an_invented_word(code: str) -> None:
    lexicon = [form for stem in SLURS for form in load(code).forms("called", stem)]
    for line in (*lines("toxic-style", code), *lines("stereotypes", code)):
        told = [*line["real"], *(p["answer"] for p in line["qa"]), *(p["question"] for p in line["qa"])]
        assert not any(contains(t, lexicon, language=code) for t in (*told, *line.get("of", ()))), line["id"]
