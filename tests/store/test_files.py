"""Files of a store by their names, whatever lies below."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.store.faulty import FaultyDisk
from xlharm.engine.trouble import trouble_of
from xlharm.errors import StoreError, UserError
from xlharm.store import files as module
from xlharm.store.files import Files, line_of, refuse_password


@pytest.fixture(params=["local", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "local":
        return Files(str(tmp_path / "files"))
    import fsspec

    fsspec.filesystem("memory").store.clear()
    return Files("memory://bucket/files")


def test_text_is_replaced_and_listed_with_its_size(files: Files) -> None:
    files.write_text("a/one", "first")
    files.write_text("a/one", "سرخ")
    files.write_text("a/b/two", "xy")
    assert files.read_text("a/one") == "سرخ"
    assert {name: listed.size for name, listed in files.listing("a").items()} == {"a/one": 6, "a/b/two": 2}
    assert files.listing("nowhere") == {}


def test_of_several_that_create_a_file_one_succeeds(files: Files) -> None:
    assert files.create("lease", "mine")
    assert not files.create("lease", "yours")
    assert files.read_text("lease") == "mine"


def test_what_is_gone_can_be_removed_again(files: Files) -> None:
    for name in ("x/1", "x/2", "y"):
        files.write_text(name, "1")
    files.remove("y", "y", "never")
    files.remove_folder("x")
    files.remove_folder("x")
    assert files.listing("x") == {}
    with pytest.raises(FileNotFoundError):
        files.read_text("y")


def test_a_file_is_on_this_machine_while_it_is_read(files: Files) -> None:
    files.write_text("weights.bin", "123")
    with files.file("weights.bin") as path:
        assert path.read_text() == "123"
    with files.scratch() as folder:
        assert list(folder.iterdir()) == []
    assert not folder.exists()


def test_only_reading_leaves_nothing_behind(tmp_path: Path) -> None:
    assert Files(str(tmp_path / "none"), writes=False).empty
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["s3://key:hunter2@bucket/x", "http://u:hunter2@host/"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="without a password") as error:
        refuse_password(url)
    assert "hunter2" not in str(error.value)
    refuse_password("s3://bucket/a@b:c")


def test_a_message_is_one_line() -> None:
    assert line_of(OSError("two\n lines")) == "two lines"
    assert line_of(OSError()) == "OSError"
    assert len(line_of(OSError("x" * 999))) == 300


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_an_error_that_may_pass_is_not_blamed_on_what_was_given(tmp_path: Path, number: int) -> None:
    disk = FaultyDisk(fault=number, counted=("write",))
    disk.begin(0)
    with pytest.raises(StoreError, match="cannot be written") as raised:
        Files(str(tmp_path), disk=disk)
    assert trouble_of(raised.value).kind == "io"  # a worker that starts is started again
    Files(str(tmp_path), disk=disk)


def test_a_place_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    disk = FaultyDisk(fault=errno.EROFS, counted=("write",))
    disk.begin(0)
    with pytest.raises(UserError, match="cannot be written"):
        Files(str(tmp_path), disk=disk)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("times", [1, 3, 4])
def test_small_files_are_written_again_after_an_error_that_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, times: int
) -> None:
    monkeypatch.setattr(module, "RETRIES", (0.0, 0.0, 0.0))
    for name, counted in (("text", ("move",)), ("lease", ("write",)), ("remove", ("remove",))):
        disk = FaultyDisk(fault=number, counted=counted, times=times)
        files = Files(str(tmp_path / name), disk=disk)
        disk.begin(0)
        steps: dict[str, Callable[[], object]] = {
            "text": partial(files.write_text, "a", "x"),
            "lease": partial(files.create, "a", "x"),
            "remove": partial(files.remove, "a"),
        }
        if times <= 3:
            steps[name]()
            assert (tmp_path / name / "a").exists() == (name != "remove")
        else:
            with pytest.raises(OSError, match=os.strerror(number)):
                steps[name]()
