"""`xlharm view` as a process, and what `status` says to programs and without a terminal."""

import contextlib
import http.client
import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cli.conftest import Xlharm, command, environment
from tests.engine.worlds import commit
from xlharm import api


@pytest.mark.slow
def test_it_prints_an_address_that_answers_and_ends_with_ctrl_c(tmp_path: Path, grid_file: Path) -> None:
    process = subprocess.Popen(
        command("view", grid_file), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - ignored in the background; no threads here
    )  # fmt: skip
    assert process.stdout is not None
    url = urlsplit(process.stdout.readline().strip())
    assert (url.scheme, url.hostname) == ("http", "127.0.0.1")
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=60)
    connection.request("GET", f"/?{url.query}")
    answer = connection.getresponse()
    assert answer.status == 200
    assert "xlharm view" in answer.read().decode("utf-8")
    cookie = str(answer.getheader("Set-Cookie")).partition(";")[0]
    connection.request("GET", "/state?since=0", headers={"Cookie": cookie})
    state = json.loads(connection.getresponse().read())
    assert state["grids"][0]["done"] == 0
    connection.close()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "--store store: nothing is there yet\n")
    assert not (tmp_path / "store").exists()  # it only reads


def test_status_for_programs(xlharm_here: Xlharm, grid_file: Path) -> None:
    done = xlharm_here("status", grid_file, "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert (said["done"], said["complete"], said["failures"], said["runs"]) == (0, 0, [], [])
    assert said["total"] == sum(sum(one.values()) for one in said["stages"].values())
    assert said["eta_seconds"] > 0
    assert said["eta_from"] == "estimate"


@pytest.fixture
def finished(tmp_path: Path, grid_file: Path) -> Path:
    """A store in which every stage of the grid is, as far as anyone looks."""
    grid = api.open_grid(grid_file, store=tmp_path / "store", writes=True)
    for stage in grid.plan().stages.values():
        commit(grid.store, stage)
    return tmp_path / "store"


def test_watching_what_is_finished_ends_at_once(xlharm_here: Xlharm, grid_file: Path, finished: Path) -> None:
    done = xlharm_here("status", grid_file, "--store", finished, "--watch")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.endswith("cells are complete, all done")


@pytest.mark.slow
def test_the_map_at_a_terminal(tmp_path: Path, grid_file: Path, finished: Path) -> None:
    ours, theirs = pty.openpty()
    arguments = command("status", grid_file, "--store", finished, "--watch")
    process = subprocess.Popen(
        arguments, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path,
        env={**environment(), "COLUMNS": "100", "LINES": "40", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while chunk := os.read(ours, 4096):
            shown += chunk
    os.close(ours)
    assert process.wait(60) == 0
    assert "none/none/none/0" in shown.decode("utf-8")
    assert "all done" in shown.decode("utf-8")
    assert "25" in shown.decode("utf-8")  # 1 of 4
