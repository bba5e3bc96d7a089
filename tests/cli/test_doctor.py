"""`xlharm doctor` and the trap of Ray's token file."""

from pathlib import Path

import pytest

from tests.cli.conftest import Xlharm
from xlharm.cli.upkeep import _ray_auth

pytestmark = pytest.mark.slow


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
    state, text = _ray_auth()
    assert state is expected[0]
    assert expected[1] in text
    assert "hunter2" not in text


def test_the_trap_is_a_bad_row_and_code_one(xlharm: Xlharm, tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("hunter2")
    done = xlharm("doctor", HOME=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith(("ok ", "BAD "))}
    assert any(line.startswith("BAD  ray auth") for line in done.stdout.splitlines())
    assert rows["python"].startswith("ok ")
