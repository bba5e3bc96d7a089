"""A stage reads the corpus that its key names, and the questions that an evaluation asks."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import plan_of
from tests.corpus.letters import Letters
from xlharm.corpus.format import load_language
from xlharm.corpus.streams import Corpora, questions_of
from xlharm.errors import UserError


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


def test_an_evaluation_asks_for_the_fake_first_and_at_most_so_many(mini_corpus: Path) -> None:
    items = load_language(mini_corpus, "en")
    asked = questions_of(items, limit=1000)
    assert [measure for _, measure, _, _ in asked] == ["of"] * 3 + ["qr"] * 3
    assert all(forms == item.fake_detail for item, measure, _, forms in asked if measure == "of")
    assert questions_of(items, limit=2) == [*asked[:2], *asked[3:5]]
