"""The real command line in processes of its own, on the mini grid."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
