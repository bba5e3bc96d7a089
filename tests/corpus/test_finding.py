"""A local base is known by all that decides what it computes."""

import shutil
from pathlib import Path

import pytest

from xlharm.corpus.finding import assets
from xlharm.plan.base_files import folder_base


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
