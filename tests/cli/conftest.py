"""The real command line on the mini grid: in processes of its own, or in this one."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ruamel.yaml import YAML

Xlharm = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """This process's environment less what would point at somebody's cluster or store."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "XLHARM_", "WANDB_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from xlharm.cli.main import main; main()", *map(str, arguments)]


@pytest.fixture
def grid_file(tmp_path: Path, mini_grid: dict[str, Any]) -> Path:
    path = tmp_path / "mini.yaml"
    YAML(typ="safe").dump(mini_grid, path)
    return path


@pytest.fixture
def xlharm(tmp_path: Path) -> Xlharm:
    def run(*arguments: object, timeout: float = 300, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**environment(), **extra},
            cwd=tmp_path,
            check=False,
        )

    return run


@pytest.fixture
def xlharm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Xlharm:
    """The command line in this process: a process of its own takes a second of a core before it does anything.

    For what needs nothing of a process: no signals, no Ray, nothing that is loaded or not loaded.
    """
    from xlharm.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
        argv = ["xlharm", *map(str, arguments)]
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**environment(), **extra}, clear=True),
            mock.patch.object(sys, "argv", argv),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        return subprocess.CompletedProcess(argv, int(ended.value.code or 0), out.getvalue(), err.getvalue())

    return run
