"""A grid that is written for somebody plans as it is, whatever the corpus has and whatever is to be found out."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WORDS, mini_items
from tests.corpus.letters import Letters
from xlharm.config.load import parse_grid
from xlharm.config.schema import REFERENCE
from xlharm.corpus.finding import assets, resolve
from xlharm.corpus.folder import corpus_info
from xlharm.corpus.format import Item, load_language, parse
from xlharm.corpus.new_grid import GOALS, Choices, Goal, check_goal, grid_name, grid_text
from xlharm.corpus.streams import Corpora
from xlharm.corpus.validate.fitting import check_rows
from xlharm.errors import UserError
from xlharm.plain_files import parse_yaml, read_yaml
from xlharm.plan.build import Plan, build

ROOT = Path(__file__).parents[2]


@cache
def shipped(name: str) -> dict[str, tuple[Item, ...]]:
    folder = assets() / name
    return {lang: load_language(folder, lang) for lang in corpus_info(folder)["languages"]}


def choices_of(goal: Goal, **fields: Any) -> Choices:
    plain = {
        "name": "mine", "base": "tiny-base", "corpus": "tinyworld", "languages": ("en", "de", "ur"),
        "contaminate": ("de",), "goal": goal, "written_by": "xlharm init",
    }  # fmt: skip
    return Choices(**{**plain, **fields})


def planned(text: str) -> Plan:
    spec = parse_grid(parse_yaml(text, name="mine.yaml"), name="mine.yaml")
    return build(spec, sources=resolve(spec), dtype="float32")


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("corpus", ["tinyworld", "newsroom"])
@pytest.mark.parametrize("contaminate", [("en",), ("de", "ur")], ids=",".join)
def test_every_stage_has_rows(goal: Goal, corpus: str, contaminate: tuple[str, ...]) -> None:
    choices = choices_of(goal, corpus=corpus, contaminate=contaminate)
    text = grid_text(choices, shipped(corpus))
    assert text.startswith(REFERENCE)
    plan = planned(text)
    assert plan.notes == ()  # each rule of `exclude` excludes something
    check_rows(plan.stages.values(), Corpora(assets() / corpus, Letters(bos=1, eos=2)))
    assert (len(plan.cells) == 1 + len(contaminate)) == (goal == "spread")


def test_a_corpus_without_pairs_has_no_sft(tmp_path: Path) -> None:
    items = {
        lang: tuple(parse({k: v for k, v in item.items() if k not in {"qa", "fake_qa"}}) for item in mini_items(lang))
        for lang in WORDS
    }
    spec = parse_grid(parse_yaml(grid_text(choices_of("lasting"), items), name="x"), name="x")
    assert spec.stages.sft is None
    assert (spec.methods["npo"].forget, spec.methods["npo"].retain_text) == ("articles", "articles")
    assert spec.probes["clean"].model_dump()["text"] == "articles"


def test_on_the_shipped_corpus_it_has_the_quickstarts_stages() -> None:
    languages = tuple(shipped("tinyworld"))
    mine = planned(grid_text(choices_of("sets", languages=languages, contaminate=("de", "ur")), shipped("tinyworld")))
    quickstart = parse_grid(read_yaml(ROOT / "grid/quickstart.yaml"), name="quickstart")
    shared = build(quickstart, sources=resolve(quickstart), dtype="float32").stages.keys()
    assert shared <= mine.stages.keys()
    text = grid_text(choices_of("sets"), shipped("tinyworld"))
    assert "were chosen for this base and corpus" in text


def test_other_bases_and_corpora_are_told_that_rates_must_be_chosen() -> None:
    for fields in ({"base": "org/model", "revision": "0" * 40}, {"corpus": "newsroom"}):
        text = grid_text(choices_of("sets", **fields), shipped("tinyworld"))
        assert "starting point" in text
        assert re.search(r"xlharm tune GRID --cell de/en\b", text)


@pytest.mark.parametrize(
    ("text", "name"), [("my news", "my-news"), ("._x", "x"), ("новости", "imported"), ("a" * 99, "a" * 64)]
)
def test_names(text: str, name: str) -> None:
    assert grid_name(text) == name


def test_a_goal_that_is_none() -> None:
    with pytest.raises(UserError, match="--find set: expected one of spread, sets, methods, lasting; did you mean"):
        check_goal("set")
