"""One name means one folder to every command, and a line says so where there are two."""

import logging
import shutil
from pathlib import Path

import pytest

from xlharm.config.load import parse_grid
from xlharm.corpus import finding
from xlharm.corpus.finding import assets, base_folder, corpus_folder, corpus_to_tune_on, resolve
from xlharm.errors import UserError

GRID = {
    "name": "g", "base": "tiny-base", "corpus": "tinyworld", "languages": ["en"], "contaminate": ["en"],
    "unlearn": {"none": []},
}  # fmt: skip


def resolved(corpus: str, *, root: Path) -> Path:
    return resolve(parse_grid({**GRID, "corpus": corpus}, name="g"), grid_path=root / "g.yaml").corpus.path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a corpus that has a shipped name."""
    shutil.copytree(assets() / "tinyworld", tmp_path / "tinyworld")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_alone_means_the_shipped_one(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    shipped = (assets() / "tinyworld").resolve()
    shutil.copytree(assets() / "tiny-base", here / "tiny-base")
    with caplog.at_level(logging.WARNING):
        assert resolved("tinyworld", root=here) == corpus_folder("tinyworld") == shipped
        assert base_folder("tiny-base") == (assets() / "tiny-base").resolve()
    lines = sorted({record.getMessage() for record in caplog.records})
    assert [line.split(":")[0] for line in lines] == ["base 'tiny-base'", "corpus 'tinyworld'"]
    assert lines[1].endswith(f"{shipped} is read, not {here / 'tinyworld'}; to read that, give its whole path")


def test_a_path_means_the_folder(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert resolved("./tinyworld", root=here) == corpus_folder("./tinyworld") == here / "tinyworld"
    assert base_folder("./tinyworld") is None
    assert not caplog.records


def test_the_working_directory_comes_before_the_grids_folder(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = here / "grids"
    shutil.copytree(here / "tinyworld", root / "mine")
    assert resolved("mine", root=root) == root / "mine"
    assert not caplog.records
    shutil.copytree(here / "tinyworld", here / "mine")
    assert resolved("mine", root=root) == here / "mine"
    assert caplog.records[0].getMessage().startswith(f"corpus 'mine': {here / 'mine'} is read, not {root / 'mine'};")


def test_a_folder_without_a_corpus_hides_nothing(here: Path) -> None:
    (here / "newsroom").mkdir()
    assert corpus_folder("newsroom") == (assets() / "newsroom").resolve()
    (here / "own").mkdir()
    for find in (corpus_folder, lambda name: resolved(name, root=here)):
        with pytest.raises(UserError, match=r"corpus: 'own' is neither a shipped corpus .* nor a folder with a corpus"):
            find("own")


def test_the_sister_of_a_corpus_is_tuned_on(here: Path) -> None:
    assert corpus_to_tune_on(parse_grid(GRID, name="g"), named=None, grid_path=here / "g") == ("tinyworld-dev", True)


def test_a_path_with_dots_begins_at_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("work/here", "work/set", "set"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("work/set", "set"):
        (tmp_path / folder / "corpus.yaml").write_text("")
    monkeypatch.chdir(tmp_path / "work" / "here")  # ../set is there from both
    assert finding._corpus_path("../set", root=tmp_path / "set") == tmp_path / "set"
    assert finding._corpus_path("../set", root=tmp_path / "nowhere" / "deep") == tmp_path / "work" / "set"
