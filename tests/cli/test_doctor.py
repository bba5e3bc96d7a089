"""`xlharm doctor`: each complaint comes with its fix, and nothing is sent unless it is asked for."""

import resource
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Xlharm
from tests.hub_cache import COMMIT, downloaded, offline_hub
from xlharm.cli import doctor


@pytest.mark.parametrize(
    ("file", "variables", "expected"),
    [
        (False, {}, (True, "clusters and clients agree")),
        (True, {}, (False, "set RAY_AUTH_MODE=token")),
        (True, {"RAY_AUTH_MODE": "token"}, (True, "RAY_AUTH_MODE=token")),
        (True, {"RAY_AUTH_MODE": "disabled"}, (True, "RAY_AUTH_MODE=disabled")),
        (False, {"RAY_AUTH_TOKEN": "hunter2"}, (False, "RAY_AUTH_TOKEN is set")),
        (False, {"RAY_AUTH_MODE": "token"}, (False, "there is no token")),
        (False, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "hunter2"}, (True, "RAY_AUTH_MODE=token")),
    ],
)
def test_ray_auth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: bool, variables: dict[str, str], expected: tuple[bool, str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if file:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("hunter2")
    check = doctor.ray_auth()
    text = f"{check.detail}: {check.fix}"
    assert (check.state == "ok") is expected[0]
    assert expected[1] in text
    assert "hunter2" not in text


@pytest.mark.parametrize(("size", "state"), [(20, "ok"), (doctor.LONGEST_TMPDIR, "ok"), (60, "bad")])
def test_a_folder_too_long_for_sockets(monkeypatch: pytest.MonkeyPatch, size: int, state: str) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/" + "x" * (size - 1))
    check = doctor.sockets()
    assert check.state == state
    assert check.fix == ("" if state == "ok" else "export RAY_TMPDIR=/tmp")
    monkeypatch.setenv("RAY_TMPDIR", "/t")
    assert doctor.sockets().state == "ok"


def test_small_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=64 << 20))
    check = doctor.shared_memory()
    assert (check.state, "67 MB free" in check.detail, "--shm-size" in check.fix) == ("bad", True, True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=8 << 30))
    assert doctor.shared_memory().state == "ok"
    monkeypatch.undo()
    assert doctor.shared_memory(tmp_path / "none").state == "ok"


@pytest.mark.parametrize(("hard", "state"), [(1024, "bad"), (65_536, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_few_open_files(monkeypatch: pytest.MonkeyPatch, hard: int, state: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    check = doctor.open_files()
    assert check.state == state
    assert ("--ulimit nofile" in check.fix) == (state == "bad")


@pytest.mark.parametrize(
    ("ahead", "words"), [(0.4, ""), (-4.9, ""), (90.0, "90 s behind the store"), (-90.0, "90 s ahead of the store")]
)
def test_a_wrong_clock(ahead: float, words: str) -> None:
    check = doctor.clock(ahead)
    assert (check.state, bool(check.fix)) == (("bad", True) if words else ("ok", False))
    assert words in check.detail


@pytest.mark.parametrize(
    ("found", "interface", "state", "words"),
    [
        ({"devices": 2, "nccl": "2.27.5", "works": True}, "", "ok", "version 2.27.5"),
        ({"devices": 2, "nccl": "2.27.5", "works": True}, "lo", "ok", "version 2.27.5"),
        ({"devices": 2, "nccl": "2.27.5", "works": True}, "^docker", "ok", "version 2.27.5"),
        ({"devices": 2, "nccl": "2.27.5", "works": True}, "nosuch0,nosuch1", "bad", "nosuch0,nosuch1"),
        ({"devices": 2, "nccl": "2.27.5", "works": True}, "=l", "bad", "=l"),
        ({"devices": 2, "nccl": "2.27.5", "works": False}, "", "bad", "sums over all GPUs are wrong"),
        ({"devices": 2, "nccl": "", "works": True}, "", "bad", "comes without it"),
        ({"devices": 1, "nccl": "", "works": True}, "", "note", "comes without it"),
    ],
)
def test_nccl(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, object], interface: str, state: str, words: str
) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", interface)
    check = doctor.nccl(found)
    assert check.state == state
    assert words in check.detail
    assert bool(check.fix) == (state != "ok")


def test_without_a_gpu_nothing_is_said_of_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_gpu", lambda: False)
    assert [check.name for check in doctor.gpu()] == ["gpu"]


@pytest.mark.parametrize(
    ("netrc", "variables", "state", "words"),
    [
        ("", {}, "note", "none"),
        ("machine api.wandb.ai login user password abc\n", {}, "ok", "has a key for https://api.wandb.ai"),
        ("machine elsewhere.org login user password abc\n", {}, "note", "none"),
        ("machine my.host login user password abc\n", {"WANDB_BASE_URL": "https://my.host"}, "ok", "https://my.host"),
        ("", {"WANDB_API_KEY": "hunter2"}, "ok", "WANDB_API_KEY is set"),
        ("", {"WANDB_MODE": "offline"}, "ok", "not needed"),
        ("this is no netrc\n", {}, "bad", "cannot be read"),
    ],
)
def test_wandb_login(  # noqa: PLR0917 - the cases' values
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, netrc: str, variables: dict[str, str], state: str, words: str
) -> None:
    for name in ("WANDB_MODE", "WANDB_BASE_URL", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if netrc:
        (tmp_path / "netrc").write_text(netrc)
        (tmp_path / "netrc").chmod(0o600)
    check = doctor.wandb()
    assert check.state == state
    assert words in check.detail
    assert bool(check.fix) == (state != "ok")
    assert "hunter2" not in f"{check}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, int]]:
    """A hub that answers as it is told; ``asked`` counts its requests."""
    state = {"status": 200, "asked": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            state["asked"] += 1
            self.send_response(state["status"])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    yield state
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "token", "state", "words"),
    [
        (200, "", "ok", "can be had, without a login"),
        (401, "", "bad", "hf auth login, or set HF_TOKEN"),
        (403, "hf_x", "bad", "accept its terms at"),
        (404, "", "bad", "no such model or commit"),
        (503, "", "bad", "the hub answers 503"),
    ],
)
def test_what_the_hub_answers(  # noqa: PLR0917 - the cases' values
    hub: dict[str, int], monkeypatch: pytest.MonkeyPatch, status: int, token: str, state: str, words: str
) -> None:
    hub["status"] = status
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    check = doctor.hub_access(("org/model", "a" * 40))
    assert check.state == state
    assert words in f"{check.detail}: {check.fix}"
    assert hub["asked"] == 1


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    check = doctor.hub_access(None)
    assert check.state == "bad"
    assert "xlharm base import" in check.fix
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in doctor.hub_access(None).detail


def test_a_commit_in_the_cache_needs_no_hub(
    hub: dict[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mini_base: Path
) -> None:
    root = offline_hub(tmp_path / "cache", monkeypatch)
    downloaded(root, mini_base, name="org/model")
    assert doctor.hub_access(("org/model", COMMIT)).state == "ok"
    assert hub["asked"] == 0


def test_which_grids_ask_the_hub(tmp_path: Path, grid_file: Path) -> None:
    assert doctor._hub_base(grid_file) is None
    other = tmp_path / "hub.yaml"
    text = grid_file.read_text("utf-8")
    base = next(line for line in text.splitlines() if line.startswith("base:"))
    other.write_text(text.replace(base, f"base: org/model\nrevision: {'a' * 40}"), "utf-8")
    assert doctor._hub_base(other) == ("org/model", "a" * 40)


@pytest.mark.slow
def test_the_trap_is_a_bad_row_and_code_one(xlharm: Xlharm, tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("hunter2")
    done = xlharm("doctor", HOME=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith(("ok ", "BAD "))}
    assert any(line.startswith("BAD  ray auth") for line in done.stdout.splitlines())
    assert rows["python"].startswith("ok ")
