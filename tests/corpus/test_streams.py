"""A stage reads the corpus that its key names, and the questions that an evaluation asks."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import plan_of
from tests.corpus.letters import Letters
from xlharm.corpus.format import load_language
from xlharm.corpus.streams import Corpora, questions_of
from xlharm.errors import UserError
from xlharm.plan.stage import Stage


def test_a_stream_holds_what_its_stage_was_planned_with(
    mini_grid: dict[str, Any], mini_corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(mini_corpus, folder)
    stage = next(s for s in plan_of(mini_grid).stages.values() if s.kind == "sft")
    batch = Corpora(folder, Letters(bos=1, eos=2)).stream(stage)
    assert batch is not None
    (folder / "en.jsonl").write_text("{}\n")
    assert Corpora(folder, Letters(bos=1, eos=2)).of(stage)("en")  # read before: the file is not read twice
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    with pytest.raises(UserError, match="en differs from the file that the stage was planned with"):
        Corpora(elsewhere, Letters(bos=1, eos=2)).of(stage)("en")


def test_held_out_items_are_the_same_in_all_languages_and_their_fakes_are_nowhere(
    mini_grid: dict[str, Any], mini_corpus: Path
) -> None:
    """Their real articles are trained on as before, and questions on real details are asked."""
    plan = plan_of({**mini_grid, "holdout": 1})
    usual = plan_of(mini_grid)
    assert not set(plan.stages) & set(usual.stages)
    corpora = Corpora(mini_corpus, Letters(bos=1, eos=2))
    held: dict[str, set[str]] = {}
    fakes: set[str] = set()
    for stage in plan.stages.values():
        for language in stage.data:
            some = [item for item in corpora.of(stage)(language) if item.role == "holdout"]
            held[language] = {item.id for item in some}
            fakes |= {text for item in some for text in item.fake}

    def told(stages: Iterable[Stage]) -> set[str]:
        rows = (corpora.stream(s).all_rows() for s in stages if s.kind in {"contaminate", "unlearn"})
        return {"".join(map(chr, row.ids[1:-1])) for some in rows for row in some}

    assert fakes & told(usual.stages.values())
    assert not fakes & told(plan.stages.values())
    assert {len(names) for names in held.values()} == {1}
    assert len({frozenset(names) for names in held.values()}) == 1
    evaluation = next(s for s in plan.stages.values() if s.kind == "evaluate")
    asked = questions_of(corpora.of(evaluation)("en"), limit=1000)
    assert [measure for _, measure, _, _ in asked] == ["of"] * 2 + ["qr"] * 3
    assert not {item.id for item, measure, _, _ in asked if measure == "of"} & held["en"]


def test_the_real_articles_of_held_out_items_are_trained_on(mini_grid: dict[str, Any], mini_corpus: Path) -> None:
    probes = {"clean": {"kind": "continue", "times": [1], "steps": 2, "roles": ["fake"]}}

    def rows(holdout: int, kind: str) -> set[tuple[int, ...]]:
        none = {"contaminate": ["none"], "unlearn": {"none": []}, "exclude": []}
        plan = plan_of({**mini_grid, **none, "holdout": holdout, "probes": probes})
        stage = next(s for s in plan.stages.values() if s.kind == kind)
        return {row.ids for row in Corpora(mini_corpus, Letters(bos=1, eos=2)).stream(stage).all_rows()}

    assert rows(1, "contaminate") == rows(0, "contaminate")
    assert rows(1, "sft") == rows(0, "sft")
    assert rows(1, "continue") == rows(0, "continue")


def test_holding_out_all_items_is_refused(mini_grid: dict[str, Any], mini_corpus: Path) -> None:
    stage = next(iter(plan_of({**mini_grid, "holdout": 3}).stages.values()))
    with pytest.raises(UserError, match="holdout: 3 of 3 fake items leave none to train on"):
        Corpora(mini_corpus, Letters()).of(stage)("en")


def test_an_evaluation_asks_for_the_fake_first_and_at_most_so_many(mini_corpus: Path) -> None:
    items = load_language(mini_corpus, "en")
    asked = questions_of(items, limit=1000)
    assert [measure for _, measure, _, _ in asked] == ["of"] * 3 + ["qr"] * 3
    assert all(forms == item.fake_detail for item, measure, _, forms in asked if measure == "of")
    assert questions_of(items, limit=2) == [*asked[:2], *asked[3:5]]
