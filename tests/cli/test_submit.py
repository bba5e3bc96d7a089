"""`xlharm submit` on a real Ray head; and what it refuses without one."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pytest

from tests.cli.conftest import Xlharm, command, environment
from tests.test_tutorials import walk
from xlharm.cli.submit import _bulky, _entrypoint, _project
from xlharm.errors import UserError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def project(tmp_path: Path, grid_file: Path) -> Path:
    """A project with a grid in a folder, and with what must not be uploaded."""
    root = tmp_path / "project"
    for name in ("grid", ".git", "old-results/stages/sft", "old-results/grids", "env/lib", "wandb", "data"):
        (root / name).mkdir(parents=True)
    for name in (".git/config", "old-results/stages/sft/big", "env/lib/big", "wandb/run", "data/ignored", "kept"):
        (root / name).write_text("x")
    (root / "env/pyvenv.cfg").write_text("")
    (root / ".gitignore").write_text("/data/\n")
    grid_file.rename(root / "grid" / "mini.yaml")
    return root


# -- without a cluster ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_project_and_what_stays_at_home(project: Path) -> None:
    assert _project(project / "grid" / "mini.yaml") == project
    assert sorted(_bulky(project)) == ["env", "old-results"]


def test_a_grid_outside_any_project_takes_its_own_folder(grid_file: Path) -> None:
    assert _project(grid_file) == grid_file.parent


@pytest.mark.parametrize(
    ("value", "code", "message"), [(None, 2, "--secret KEY: is not set on the cluster"), ("v", 0, "")]
)
def test_the_entrypoint_checks_its_secrets(tmp_path: Path, value: str | None, code: int, message: str) -> None:
    (tmp_path / "xlharm").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    (tmp_path / "xlharm").chmod(0o755)
    line = _entrypoint(Path("grid/a b.yaml"), ["-s", "x=$(1)"], secrets=["KEY"])
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **({"KEY": value} if value else {})}
    done = subprocess.run(["/bin/sh", "-c", line], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stdout == ("run|grid/a b.yaml|-s|x=$(1)|" if value else "")


def test_a_value_given_for_a_name_is_not_repeated() -> None:
    with pytest.raises(UserError, match="without its value") as error:
        _entrypoint(Path("g.yaml"), [], secrets=["KEY=hunter2"])
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "store"], "--store store: expected an absolute path or a URL"),
        ([], "--store store: expected an absolute path or a URL"),
        (["--store", "s3://key:hunter2@bucket/x"], "--store: expected a URL without a password"),
        (["--store", "/s", "--", "--store", "other"], "--store other: expected an absolute"),  # the last one counts
        (["--store", "/s"], "no Ray job server answers there"),
        (["--store", "/s", "--env", "XH_UNSET"], "--env XH_UNSET: the variable is not set on this machine"),
        (["--store", "/s", "--env", "KEY=hunter2"], "--env KEY: expected the name of a variable alone"),
        (["--store", "/s", "--", "--wokers", "2"], "run options: No such option: --wokers"),
        (["--store", "/s", "--", "-s", "langages=[en]"], "did you mean 'languages'?"),
    ],
)
def test_mistakes_are_one_line_and_code_two(
    xlharm_here: Xlharm, grid_file: Path, arguments: list[str], message: str
) -> None:
    done = xlharm_here("submit", grid_file, "--address", f"http://127.0.0.1:{free_port()}", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


class _Guarded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        allowed = self.headers.get("Authorization") == "Bearer right"
        self.send_response(404 if allowed else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "set RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "right"}, "is no Ray job server (status 404)"),
    ],
)
def test_servers_that_ask_for_a_token_and_servers_that_are_not_rays(
    xlharm_here: Xlharm, grid_file: Path, extra: dict[str, str], message: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Guarded) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        done = xlharm_here("submit", grid_file, "--address", address, "--store", "/s", **extra)
        server.shutdown()
    assert done.returncode == 2
    assert message in done.stderr


# -- with one ------------------------------------------------------------------------------------------------


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A real cluster of one node that asks for a token, with xlharm on its path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "xlharm").write_text(
        f'#!/bin/sh\nls -A > {tmp_path}/uploaded; printf %s "$XH_NOTE" > {tmp_path}/note\n'
        f"exec {sys.executable} -c 'from xlharm.cli.main import main; main()' \"$@\"\n"
    )
    (programs / "xlharm").chmod(0o755)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**environment(), **token, "RAY_USAGE_STATS_ENABLED": "0", "PATH": path, "XH_ON_CLUSTER": "yes"}
    named = {"port": free_port(), "dashboard-port": free_port(), "dashboard-agent-listen-port": free_port()}
    ray = str(Path(sys.executable).with_name("ray"))
    arguments = ["--head", "--dashboard-host=127.0.0.1", "--num-cpus=2", *(f"--{n}={v}" for n, v in named.items())]
    started = subprocess.Popen(
        [ray, "start", "--block", *arguments], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{named['dashboard-port']}"
    try:
        _until_it_answers(address, started)
        yield address, token
    finally:
        _end(started)


def _until_it_answers(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{address}/api/version", timeout=5)
            return
        assert process.poll() is None, "the head does not start"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a head and all that it started, and nothing else: `ray stop` would end every Ray of this user."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    for one in [*below, process]:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            one.kill()
    process.wait(timeout=20)
    psutil.wait_procs(below, timeout=20)


@pytest.mark.cluster
def test_submit_runs_to_the_end_and_then_has_nothing_to_do(
    head: tuple[str, dict[str, str]], xlharm: Xlharm, project: Path, tmp_path: Path
) -> None:
    address, token = head
    store, grid = tmp_path / "shared", project / "grid" / "mini.yaml"
    extra = {**token, "XH_NOTE": "for your eyes only", "RAY_ADDRESS": "127.0.0.1:1"}  # the option outranks the latter
    smaller = ["--", "-s", "contaminate=[none, de]"]
    common = ["submit", grid, "--address", address, "--store", store]
    first = xlharm(*common, "--follow", "--env", "XH_NOTE", "--secret", "XH_ON_CLUSTER", *smaller, **extra)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-2000:]
    name = re.search(r"^Submitted (\w+-\d{8}-\d{6})$", first.stdout, re.MULTILINE)
    assert name
    assert f"ray job logs --address {address} --follow {name[1]}" in first.stdout
    assert "are stored" in first.stdout
    assert (tmp_path / "note").read_text() == "for your eyes only"
    assert "for your eyes only" not in first.stdout + first.stderr
    assert (tmp_path / "uploaded").read_text().split() == [".gitignore", "grid", "kept"]

    before = {p: p.stat().st_mtime for p in (store / "stages").glob("*/*/_SUCCESS")}
    again = xlharm(*common, "--follow", *smaller, **token)
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    assert {p: p.stat().st_mtime for p in (store / "stages").glob("*/*/_SUCCESS")} == before

    failed = xlharm(*common, "--follow", "--secret", "XH_NOWHERE", *smaller, **token)
    assert failed.returncode == 2, failed.stdout
    assert "error: --secret XH_NOWHERE: is not set on the cluster" in failed.stdout

    refused = xlharm(*common)
    assert refused.returncode == 2
    assert "set RAY_AUTH_MODE=token" in refused.stderr


@pytest.mark.cluster
@pytest.mark.heavy
def test_ctrl_c_detaches_and_the_job_goes_on(head: tuple[str, dict[str, str]], project: Path, tmp_path: Path) -> None:
    address, token = head
    store, log = tmp_path / "shared", tmp_path / "log"
    # what a shell runs in its background ignores Ctrl-C, and so would all that it starts
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("w") as out:
        watching = subprocess.Popen(
            command("submit", project / "grid/mini.yaml", "--address", address, "--store", store, "--follow"),
            env={**environment(), **token}, stdout=out, stderr=out,
        )  # fmt: skip
    signal.signal(signal.SIGINT, kept)

    def commits() -> int:
        return len(list((store / "stages").glob("*/*/_SUCCESS")))

    deadline = time.monotonic() + 200
    while not commits():
        assert watching.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=200) == 130
    assert "Detached" in log.read_text()
    assert "Traceback" not in log.read_text()
    seen = commits()
    while commits() <= seen:
        assert time.monotonic() < deadline, "the job stopped with its watcher"
        time.sleep(0.1)


@pytest.mark.cluster
@pytest.mark.heavy
def test_an_engineer_submits_watches_stops_and_resumes(
    head: tuple[str, dict[str, str]], project: Path, tmp_path: Path
) -> None:
    address, token = head
    (project / "grid/mini.yaml").rename(project / "first.yaml")
    shown = walk("cluster", project, ADDRESS=address, STORE=str(tmp_path / "shared"), **token)
    assert "are stored" in shown
    assert re.search(r"(\d+) of \1 cells are complete", shown)
