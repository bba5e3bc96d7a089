"""Which cluster is meant, and what Ray's refusals mean. Starts nothing."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import psutil
import pytest
from ray.exceptions import RpcError

from tests.faults.processes import until
from xlharm.engine.ray import cluster
from xlharm.engine.ray.cluster import Cluster, connected, is_auth_trouble, joined_again, prepare, wanted_address
from xlharm.engine.trouble import EngineError
from xlharm.errors import UserError


def test_the_cluster_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert wanted_address(None) is None
    assert wanted_address("auto") == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # as in a submitted job
    assert wanted_address(None) == "auto"
    with pytest.raises(UserError, match="job server"):
        wanted_address("http://127.0.0.1:8265")


@pytest.mark.parametrize(
    ("text", "is_auth"),
    [
        ("Token authentication is enabled but no authentication token was found", True),
        ("RPC error: Unauthenticated: InvalidAuthToken", True),
        ("Could not find any running Ray instance", False),
        ("AuthenticationError: RPC error: WrongClusterID: Perhaps the client accesses GCS after it restarted", False),
    ],
)
def test_refusals_for_want_of_a_token(text: str, is_auth: bool) -> None:
    assert is_auth_trouble(RuntimeError(text)) is is_auth


@pytest.mark.parametrize("error", [UserError("no Ray cluster answers there"), RpcError("not yet")])
def test_a_cluster_that_is_not_ready_is_tried_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PAUSE_SECONDS", 0.0)
    one = Cluster(local=False, head="10.0.0.1:6379", node="n")
    connect = mock.Mock(side_effect=[error, error, one])
    assert joined_again(connect) is one
    monkeypatch.setattr(cluster, "_JOIN_SECONDS", 0.0)
    with pytest.raises(EngineError, match="when the cluster is back, run the same command again"):
        joined_again(mock.Mock(side_effect=error))


@pytest.mark.slow
def test_our_own_cluster_gets_a_token_of_its_own_and_a_foreign_one_does_not() -> None:
    code = """
import os
for name in [n for n in os.environ if n.startswith("RAY_")]: del os.environ[name]
from xlharm.engine.ray.cluster import prepare
prepare("10.0.0.1:6379")
assert "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_MODE" not in os.environ
prepare(None)
assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("given", ["{}", "auto"])
def test_a_cluster_that_is_gone_is_told_at_once(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    where = given.format(address)
    with (
        pytest.raises(UserError, match=rf"^--address {where}: no Ray cluster answers there: .*refused"),
        connected(where, cpus=None, device="auto"),
    ):
        pass


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Ray's part of the environment as it would be in a fresh shell; short folders lie in the one returned."""
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})
    monkeypatch.setattr(cluster, "_SHORT_TMPDIR", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_too_long_for_sockets_is_replaced(environment: Path, name: str) -> None:
    longest = "/" + "x" * (cluster.LONGEST_TMPDIR - 1)
    os.environ[name] = longest
    prepare(None)
    assert os.environ.get("RAY_TMPDIR", longest) == longest
    os.environ[name] = longest + "x"
    prepare(None)
    assert os.environ["RAY_TMPDIR"] == str(environment / f"xlharm-{os.getuid()}")
    assert (environment / f"xlharm-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_a_short_folder_that_cannot_be_made_is_one_line(environment: Path) -> None:
    (environment / f"xlharm-{os.getuid()}").write_text("")
    os.environ["TMPDIR"] = "/" + "x" * 90
    with pytest.raises(UserError, match=r"^TMPDIR /x+: over \d+ bytes, .* set RAY_TMPDIR to a shorter folder"):
        prepare(None)


SLOW = Exception("The current node timed out during startup. This could happen because")


@pytest.mark.parametrize(("failures", "starts"), [([SLOW, SLOW], 3), ([SLOW] * 3, 3), ([RuntimeError("x")], 1)])
def test_ray_that_starts_slowly_on_a_busy_machine_is_started_again(failures: list[Exception], starts: int) -> None:
    ray = mock.Mock()
    ray.init.side_effect = [*failures, None]
    if len(failures) < starts:
        cluster._init(ray, None, cpus=1, device="cpu")
    else:
        with pytest.raises(EngineError, match="Ray does not start on this machine"):
            cluster._init(ray, None, cpus=1, device="cpu")
    assert ray.init.call_count == starts
    assert ray.shutdown.call_count == starts - 1


@pytest.mark.parametrize("local", [True, False])
def test_our_own_cluster_ends_the_agents_that_its_raylet_leaves(
    local: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy("/bin/sh", tmp_path / "raylet")
    raylets: list[subprocess.Popen[bytes]] = []

    def start(*_: object, **__: object) -> None:
        raylets.append(subprocess.Popen([tmp_path / "raylet", "-c", "sleep 60 & sleep 60 & wait"]))
        until(lambda: len(psutil.Process(raylets[0].pid).children()) == 2)

    def stop() -> None:
        raylets[0].kill()
        raylets[0].wait()

    monkeypatch.setattr(cluster, "_init", start)
    monkeypatch.setattr(cluster, "_joined", lambda *_, **__: None)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", stop)
    with connected(None if local else "10.0.0.1:6379", cpus=1, device="cpu"):
        agents = psutil.Process(raylets[0].pid).children()
    try:
        if local:
            until(lambda: not any(map(_runs, agents)), timeout=20)
        assert sum(map(_runs, agents)) == (0 if local else 2)
    finally:
        for agent in filter(_runs, agents):
            agent.kill()


def _runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
