"""`xlharm plan --why` names what changed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from xlharm.cli.common import open_grid
from xlharm.cli.planning import plan


def test_why_names_the_file_of_the_base_that_changed(
    mini_grid: dict[str, Any], mini_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, grid, where = tmp_path / "base", tmp_path / "g.yaml", str(tmp_path / "store")
    shutil.copytree(mini_base, base)
    YAML(typ="safe").dump({**mini_grid, "base": str(base)}, grid)
    session = open_grid(grid, store=where, overrides=None, writes=True)
    session.grid.remember()
    stage = next(iter(session.plan.stages.values()))
    with session.store.scratch() as folder:
        (folder / "result.txt").write_text("result")
        session.store.commit(stage, folder, metrics={}, timings={}, provenance={})
    (base / "notes.txt").write_text("read by nobody")
    plan(grid, store=where, overrides=None, why=stage.key)
    assert "in the store, nothing to run" in capsys.readouterr().out
    (base / "generation_config.json").write_text("{}")
    plan(grid, store=where, overrides=None, why="none/none")
    assert "contaminate none seed 0" in (line := capsys.readouterr().out.splitlines()[0])
    assert line.endswith("): base: generation_config.json differs")
