"""`xlharm base`: base folders for grids."""

import json
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_a_base_is_checked_and_the_plan_knows_its_speed(
    xlharm_here: Xlharm, mini_base: Path, grid_file: Path, tmp_path: Path
) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "80"}
    before = json.loads(xlharm_here("plan", grid_file, "--json", **cache).stdout)
    assert (before["basis"], before["device"]) == ("sizes", "cpu")
    done = xlharm_here("base", "check", mini_base, "--grid", grid_file, **cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"digest {folder_base(mini_base).digest[:16]}" in done.stdout
    for line in ("passed. rows computed together: within", "a text      begins with <s>", "an answer   ends at </s>",
                 "no chat template: `prompt: chat` is refused", "rank 4 on q_proj, k_proj", "Articles of"):  # fmt: skip
        assert line in done.stdout
    shown = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in shown if row and row[0] in {"en", "de", "ur"}] == ["en", "de", "ur"]
    assert next(row for row in shown if row and row[0] == "en")[2] == "1.00"
    after = json.loads(xlharm_here("plan", grid_file, "--json", **cache).stdout)
    assert after["basis"] == "machine"
    assert after["start_seconds"] != before["start_seconds"]

    plain = json.loads(xlharm_here("base", "check", mini_base, "--grid", grid_file, "--json", **cache).stdout)
    assert plain["path"] == "fast"
    assert plain["fast_refusal"] is None
    assert plain["measured"]["factors"].keys() == {"contaminate", "sft", "unlearn", "evaluate"}
    assert plain["memory"]["weights"] == 4 * plain["parameters"]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("tiny-bas", "did you mean 'tiny-base'?"),
        ("./nowhere", "is neither a shipped base (tiny-base), a folder with a config.json, nor a hub id"),
        ("org/model", "revision: a base from the hub needs a fixed commit"),
    ],
)
def test_a_base_that_is_not_here_is_one_line_and_code_two(xlharm_here: Xlharm, base: str, message: str) -> None:
    done = xlharm_here("base", "check", base)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_refused_base_is_one_line_and_code_two(xlharm_here: Xlharm, mini_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    for path in mini_base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[: 5000 if path.suffix == ".safetensors" else None])
    done = xlharm_here("base", "check", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be loaded" in done.stderr
    assert done.stderr.count("\n") == 1
