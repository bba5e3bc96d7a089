"""What holds for every command."""

import subprocess
from pathlib import Path
from unittest import mock

import pytest

from tests.cli.conftest import Xlharm, command, environment
from xlharm.engine.trouble import EngineError
from xlharm.errors import CorruptArtifactError, StoreError, UserError


@pytest.mark.slow
def test_a_terminal_in_latin_1_or_ascii_shows_escapes() -> None:
    for encoding in ("latin-1", "ascii"):
        env = {**environment(), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        shown = command("data", "show", "tw-r-f00", "--lang", "ur")
        done = subprocess.run(shown, capture_output=True, env=env, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert b"\\u06" in done.stdout  # Urdu


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            EngineError("no worker starts"),
            1,
            "no worker starts: finished stages are stored; run the same command again",
        ),
        (StoreError("no answer"), 1, "no answer: finished stages are stored"),
        (CorruptArtifactError("evaluate: damaged", key="k"), 1, "evaluate: damaged: run the grid again"),
        (KeyboardInterrupt(), 130, "interrupted: finished stages are stored"),
        (OSError(28, "No space left on device"), 2, "no space left on the disk"),
        (PermissionError(13, "Permission denied", "x\x1b.html"), 2, "x<U+001B>.html: Permission denied"),
        (UserError("g.yaml: " + "x" * 10_000), 2, "…"),
    ],
)
def test_every_foreseeable_failure_is_one_line(
    xlharm_here: Xlharm, error: BaseException, code: int, message: str
) -> None:
    with mock.patch("xlharm.cli.main.app", side_effect=error), mock.patch("xlharm.cli.main.signal.signal"):
        done = xlharm_here("plan")
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr) < 2100


def test_an_unknown_error_keeps_its_traceback(xlharm_here: Xlharm) -> None:
    with (
        mock.patch("xlharm.cli.main.app", side_effect=OSError(5, "Input/output error")),
        pytest.raises(OSError, match="5"),
    ):
        xlharm_here("plan")


@pytest.mark.slow
def test_standard_output_that_takes_nothing_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            command("schema"), stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path,
            timeout=300, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1, "error: standard output: cannot be written: No space left on device\n"
    )  # fmt: skip


def test_a_store_in_the_home_of_nobody(xlharm_here: Xlharm, grid_file: Path) -> None:
    done = xlharm_here("plan", grid_file, "--store", "~nobody-of-this-name/store")
    assert (done.returncode, done.stderr) == (0, "--store ~nobody-of-this-name/store: nothing is there yet\n")
    done = xlharm_here("plan", grid_file, "--store", "x\u202e\x1b")
    assert (done.returncode, done.stderr) == (0, "--store x<U+202E><U+001B>: nothing is there yet\n")
    done = xlharm_here("plan", grid_file, "--store", "x" * 300)
    assert (done.returncode, done.stderr.count("at most 255 bytes")) == (2, 1)


def test_users_homes_and_devices_as_grids(xlharm_here: Xlharm) -> None:
    for name, message in (
        ("~nobody-of-this-name/g.yaml", "no such grid file"),
        ("/dev/full", "expected a file"),
        ("/dev/null/x", "no such grid file"),
        ("x" * 300, "at most 255 bytes"),
        (".", "expected a file"),
    ):
        done = xlharm_here("plan", name)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr


def test_arguments_that_do_not_fit_are_shown_as_text(xlharm_here: Xlharm) -> None:
    done = xlharm_here("plan", "grid.yaml", "\u202e\x1b[31mmore")
    assert done.returncode == 2
    assert "<U+202E>" in done.stderr
    assert not {"\x1b", "\u202e"} & set(done.stderr)
    assert xlharm_here("--version").returncode == 0
    assert xlharm_here("nosuch").returncode == 2
