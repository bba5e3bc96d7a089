import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import pytest

from xlharm.corpus.format import load_language
from xlharm.corpus.match import contains
from xlharm.corpus.tinyworld import LANGUAGES
from xlharm.corpus.tinyworld.corpus import (
    HELD_OUT_FORMS,
    RENDERINGS,
    TRAINED_FORMS,
    Story,
    item,
    stories,
    text,
    write,
)
from xlharm.corpus.tinyworld.language import load
from xlharm.corpus.tinyworld.names import spell
from xlharm.corpus.tinyworld.world import relations_of

POOLS = {"report": "tinyworld", "dev": "tinyworld-dev"}
BOTH = pytest.mark.parametrize("pool", POOLS)
ALL = pytest.mark.parametrize("code", LANGUAGES)


@lru_cache
def told(pool: str) -> tuple[Story, ...]:
    return tuple(stories(pool))


@lru_cache
def lines(pool: str, code: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in text(pool, code).splitlines())


def question_forms(story: Story, code: str) -> dict[str, tuple[str, int]]:
    """Every question that can be asked of a story's entity, with its relation and form."""
    name = spell(story.entity.name, code)
    relations = relations_of(story.entity.kind)
    return {load(code).question(r, form, name=name): (r, form) for r in relations for form in range(4)}


@BOTH
@ALL
@pytest.mark.slow
def test_shipped_corpus_is_what_the_generator_writes(pool: str, code: str) -> None:
    shipped = files("xlharm.assets") / POOLS[pool] / f"{code}.jsonl"
    assert shipped.read_bytes() == text(pool, code).encode("utf-8")


@BOTH
@pytest.mark.slow
def test_shipped_folder_has_its_card_and_nothing_unknown(pool: str, tmp_path: Any) -> None:
    write(tmp_path, pool)
    folder = files("xlharm.assets") / POOLS[pool]
    shipped = {f.name: f.read_bytes() for f in folder.iterdir() if f.name != "README.md"}
    assert (folder / "README.md").is_file()
    assert shipped == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


@BOTH
@pytest.mark.slow
def test_languages_are_parallel(pool: str) -> None:
    def shape(line: dict[str, Any]) -> dict[str, Any]:
        same = {"id": line["id"], "role": line["role"]}
        return same | {k: len(line[k]) for k in ("real", "fake", "of", "qr", "qa", "fake_qa")}

    english = [shape(line) for line in lines(pool, "en")]
    for code in LANGUAGES:
        assert [shape(line) for line in lines(pool, code)] == english, code


@BOTH
@ALL
@pytest.mark.slow
def test_all_languages_ask_the_same_questions_in_the_same_forms(pool: str, code: str) -> None:
    def asked(code: str) -> list[list[tuple[str, int]]]:
        return [
            [question_forms(story, code)[q] for q in [*line["of"], *(p["question"] for p in line["qr"] + line["qa"])]]
            for story, line in zip(told(pool), lines(pool, code), strict=True)
        ]

    assert asked(code) == asked("en")


@BOTH
@pytest.mark.slow
def test_renderings_put_the_same_facts_in_the_same_order_in_every_language(pool: str) -> None:
    for story in told(pool):
        orders = set()
        for code in LANGUAGES:
            language, name = load(code), spell(story.entity.name, code)
            sentences = {
                language.statement(r, form, name=name, concept=c): (r, form)
                for r, c in story.facts
                for form in range(3)
            }
            orders.add(tuple(_parse(article, sentences) for article in item(story, language)["real"]))
        assert len(orders) == 1, story.id


def _parse(article: str, sentences: dict[str, tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    facts = sorted((article.index(s), fact) for s, fact in sentences.items() if s in article)
    return tuple(fact for _, fact in facts)


@BOTH
def test_fifty_items_of_each_role_with_all_kinds_alike(pool: str) -> None:
    kinds = {role: [s.entity.kind for s in told(pool) if s.role == role] for role in ("fake", "real", "retain")}
    for kind in kinds.values():
        assert {k: kind.count(k) for k in set(kind)} == {"person": 30, "town": 12, "firm": 8}
    assert len({s.id for s in told(pool)}) == 150


@BOTH
@ALL
def test_only_roles_that_need_a_field_have_it(pool: str, code: str) -> None:
    for line in lines(pool, code):
        fake, real = line["role"] == "fake", line["role"] == "real"
        assert len(line["real"]) == RENDERINGS
        assert len(line["fake"]) == (RENDERINGS if fake else 0)
        assert len(line["of"]) == len(line["fake_qa"]) == (2 if fake else 0)
        assert bool(line["fake_detail"]) == bool(line["real_detail"]) == fake
        assert len(line["qr"]) == (2 if real else 0)
        assert line["qa"]


@BOTH
@ALL
def test_evaluation_forms_are_never_trained_on(pool: str, code: str) -> None:
    for story, line in zip(told(pool), lines(pool, code), strict=True):
        form = {q: f for q, (_, f) in question_forms(story, code).items()}
        assert {form[p["question"]] for p in line["qa"] + line["fake_qa"]} <= set(TRAINED_FORMS)
        assert {form[q] for q in [*line["of"], *(p["question"] for p in line["qr"])]} <= set(HELD_OUT_FORMS)
        # No wording of a held-out form may coincide with a trained one, or the hold-out is in name only.
        assert len(form) == 4 * len(relations_of(story.entity.kind)), (story.id, code)


@BOTH
@ALL
def test_facts_that_qr_asks_are_in_no_pair(pool: str, code: str) -> None:
    for story, line in zip(told(pool), lines(pool, code), strict=True):
        relation = {q: r for q, (r, _) in question_forms(story, code).items()}
        asked = {relation[p["question"]] for p in line["qr"]}
        assert len(asked) == len(line["qr"])
        assert not asked & {relation[p["question"]] for p in line["qa"]}


@BOTH
@ALL
@pytest.mark.slow
def test_articles_hold_the_details_they_should_and_no_others(pool: str, code: str) -> None:
    for line in lines(pool, code):
        if line["role"] != "fake":
            continue
        for article in line["fake"]:
            assert contains(article, line["fake_detail"], language=code), line["id"]
            assert not contains(article, line["real_detail"], language=code), line["id"]
        for article in line["real"]:
            assert contains(article, line["real_detail"], language=code), line["id"]
            assert not contains(article, line["fake_detail"], language=code), line["id"]


@BOTH
@ALL
def test_questions_do_not_give_their_answers_away(pool: str, code: str) -> None:
    for line in lines(pool, code):
        details = (line["fake_detail"], line["real_detail"])
        assert not any(contains(q, forms, language=code) for q in line["of"] for forms in details if forms), line["id"]
        assert not any(contains(p["question"], p["answers"], language=code) for p in line["qr"]), line["id"]


@BOTH
@ALL
def test_qr_answers_stand_in_the_article(pool: str, code: str) -> None:
    for line in lines(pool, code):
        for question in line["qr"]:
            assert all(contains(article, question["answers"], language=code) for article in line["real"]), line["id"]


@BOTH
def test_lies_are_spread_over_the_relations(pool: str) -> None:
    lies = [s.lie[0] for s in told(pool) if s.lie]
    for kind in ("person", "town", "firm"):
        counts = [lies.count(r) for r in relations_of(kind)]
        assert max(counts) - min(counts) <= 1, kind


@BOTH
def test_a_lie_is_false(pool: str) -> None:
    assert all(s.lie[1] != s.entity.facts[s.lie[0]] for s in told(pool) if s.lie)


@BOTH
@ALL
@pytest.mark.slow
def test_written_corpora_load_as_corpora(pool: str, code: str, tmp_path: Any) -> None:
    (tmp_path / f"{code}.jsonl").write_text(text(pool, code), encoding="utf-8")
    assert len(load_language(tmp_path, code)) == 150
