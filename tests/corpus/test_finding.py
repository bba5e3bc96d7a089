"""A local base is known by all that decides what it computes."""

import shutil
from pathlib import Path

import pytest

from xlharm.corpus import finding
from xlharm.corpus.finding import assets, folder_base


@pytest.mark.parametrize("name", ["modeling_mine.py", "qwen.tiktoken"])
def test_code_and_vocabulary_of_a_base_count(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "base"
    shutil.copytree(assets() / "tiny-base", folder)
    before = folder_base(folder).digest
    (folder / name).write_text("one")
    one = folder_base(folder).digest
    (folder / name).write_text("two")
    assert len({before, one, folder_base(folder).digest}) == 3
    (folder / "README.md").write_text("what a card says does not count")
    (folder / name).unlink()
    assert folder_base(folder).digest == before


def test_a_path_with_dots_begins_at_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("work/here", "work/set", "set"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")  # ../set is there from both
    assert finding._locate("../set", root=tmp_path / "set") == tmp_path / "set"
    assert finding._locate("../set", root=tmp_path / "nowhere" / "deep") == tmp_path / "work" / "set"
