"""`xlharm base`: base folders for grids."""

from pathlib import Path

from tests.cli.conftest import Xlharm
from xlharm.plan.base_files import folder_base


def test_a_base_is_imported_and_named(xlharm_here: Xlharm, mini_base: Path, tmp_path: Path) -> None:
    done = xlharm_here("base", "import", mini_base, "bases/mine")
    assert done.returncode == 0
    assert f"digest {folder_base(mini_base).digest[:16]}" in done.stdout
    assert "Licence: not named by the source" in done.stdout
    assert "In a grid: base: bases/mine" in done.stdout
    assert folder_base(tmp_path / "bases" / "mine").digest == folder_base(mini_base).digest


def test_a_mistake_is_one_line_and_code_two(xlharm_here: Xlharm, tmp_path: Path) -> None:
    done = xlharm_here("base", "import", tmp_path / "nothing.gguf", "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "neither a GGUF file, nor a folder, nor a hub id such as org/model" in done.stderr
    assert done.stderr.count("\n") == 1
