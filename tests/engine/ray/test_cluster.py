"""Which cluster is meant, and what Ray's refusals mean. Starts nothing."""

import socket
import subprocess
import sys

import pytest

from xlharm.engine.ray.cluster import connected, is_auth_trouble, wanted_address
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
    ],
)
def test_refusals_for_want_of_a_token(text: str, is_auth: bool) -> None:
    assert is_auth_trouble(RuntimeError(text)) is is_auth


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
