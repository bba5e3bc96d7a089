"""`xlharm init`: four questions at a terminal, or four options; nothing is overwritten."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Xlharm, command, environment
from xlharm.config.load import load_grid
from xlharm.config.schema import schema_text
from xlharm.corpus.finding import resolve

ALL = ("--base", "tiny-base", "--corpus", "tinyworld", "--contaminate", "de,ur", "--find", "sets")


def test_options_answer_the_questions(xlharm_here: Xlharm, tmp_path: Path) -> None:
    done = xlharm_here("init", "grids/mine.yaml", *ALL)
    assert done.returncode == 0, done.stderr
    assert "Next: xlharm plan grids/mine.yaml, then xlharm run grids/mine.yaml" in done.stdout
    spec = load_grid(tmp_path / "grids/mine.yaml")
    assert (spec.name, spec.contaminate, len(spec.languages)) == ("mine", ("none", "de", "ur"), 9)
    assert (tmp_path / "grids/grid.schema.json").read_text("utf-8") == schema_text()


def test_nothing_is_overwritten(xlharm_here: Xlharm, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    done = xlharm_here("init", "mine.yaml", *ALL)
    assert (done.returncode, done.stderr) == (
        2, "error: mine.yaml: exists already: give another name, or move it away\n"
    )  # fmt: skip
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_a_folder_is_named_as_seen_from_the_grid(
    xlharm_here: Xlharm, tmp_path: Path, mini_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(mini_corpus.parent)
    done = xlharm_here("init", "grids/mine.yaml", *ALL[:3], "data/mini", *ALL[4:])
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir("/")  # it is found from anywhere
    spec = load_grid(tmp_path / "grids/mine.yaml")
    assert spec.corpus == "../data/mini"
    assert resolve(spec, grid_path=tmp_path / "grids/mine.yaml").corpus.path == mini_corpus


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (ALL[:4], "without a terminal nothing can be asked: give --contaminate, --find; see xlharm init -h"),
        ((*ALL, "--base", "tiny-bas"), "did you mean 'tiny-base'?"),
        ((*ALL, "--base", "org/model"), "a base from the hub needs its commit, as org/model@0123…"),
        ((*ALL, "--base", "org/model@main"), "needs its commit"),
        ((*ALL, "--corpus", "tinyworl"), "did you mean 'tinyworld'?"),
        ((*ALL, "--contaminate", "de,xx"), "the corpus has no fake items in 'xx'"),
        ((*ALL, "--contaminate", "de,de"), "each once"),
        ((*ALL, "--contaminate", ","), "each once"),
        ((*ALL, "--languages", "en,xx"), "the corpus has no language 'xx'"),
        ((*ALL, "--find", "method"), "did you mean 'methods'?"),
    ],
)
def test_mistakes_are_one_line(xlharm_here: Xlharm, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = xlharm_here("init", "mine.yaml", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_base_on_the_hub_needs_no_network(xlharm_here: Xlharm, tmp_path: Path) -> None:
    done = xlharm_here("init", "mine.yaml", *ALL, "--base", f"org/model@{'a' * 40}")
    assert done.returncode == 0, done.stderr
    assert f"hf download org/model --revision {'a' * 40}" in done.stdout
    assert load_grid(tmp_path / "mine.yaml").revision == "a" * 40


@pytest.mark.slow
def test_four_questions_at_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("init", "mine.yaml"), stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment()
    )
    os.close(theirs)
    shown = ""
    answers = iter(["", "", "fr", "3"])
    try:
        while chunk := os.read(ours, 4096).decode("utf-8"):
            shown += chunk
            if chunk.endswith("> ") or shown.endswith("]> "):
                os.write(ours, (next(answers) + "\n").encode())
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0, shown
    assert [shown.count(f"{i}. ") > 0 for i in (1, 2, 3, 4)] == [True] * 4
    assert next(answers, None) is None
    spec = load_grid(tmp_path / "mine.yaml")
    assert (spec.base, spec.corpus, spec.contaminate) == ("tiny-base", "tinyworld", ("none", "fr"))
    assert len(spec.methods) == 5
