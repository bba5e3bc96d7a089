"""Commands that only read leave nothing behind, and say where there is nothing to read."""

from pathlib import Path

import pytest

from tests.cli.conftest import Xlharm
from xlharm.errors import UserError
from xlharm.store.store import Store


@pytest.mark.parametrize("command", ["plan", "status", "results", "gc"])
def test_a_store_that_is_not_there_is_told_and_not_made(
    command: str, xlharm_here: Xlharm, grid_file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "mistyped" / "store"
    done = xlharm_here(command, grid_file, "--store", store)
    assert (done.returncode, done.stderr) == (0, f"--store {store}: nothing is there yet\n")
    assert not store.parent.exists()


def test_what_is_there_is_read_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(str(tmp_path)).write_text("grids/mini.json", "{}")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("write", "make_folder", "move", "remove", "sync", "share", "remove_folder"):
        monkeypatch.setattr(f"xlharm.store.disk.Disk.{name}", refuse)
    with pytest.raises(UserError, match=r"cannot be written: .*Permission denied"):
        Store(str(tmp_path))
    reading = Store(str(tmp_path), writes=False)
    assert (reading.empty, reading.read_text("grids/mini.json")) == (False, "{}")


def test_a_report_of_several_grids_is_one_file(xlharm_here: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(grid_file.read_text(encoding="utf-8").replace("name: mini", "name: other"), encoding="utf-8")
    done = xlharm_here("report", grid_file, second, "--store", tmp_path / "s", "--out", tmp_path / "both.html")
    assert done.returncode == 0
    text = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert "<title>mini, other · xlharm</title>" in text


def test_answers_that_are_no_number_are_the_users_error(xlharm_here: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    done = xlharm_here("report", grid_file, "--store", tmp_path / "s", "--answers", "many")
    assert done.returncode == 2
    assert "--answers many: expected a number of evaluations, or all" in done.stderr
