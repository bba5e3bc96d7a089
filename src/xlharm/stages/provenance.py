"""The origin of a result: code, package versions and hardware. It holds no secrets and no environment variables."""

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import xlharm
from xlharm.parallel import usable_cores

_PACKAGES = ("xlharm", "torch", "transformers", "peft", "deepspeed", "ray", "tokenizers", "safetensors")


@lru_cache(maxsize=1)
def _code() -> dict[str, Any]:
    folder = Path(xlharm.__file__).parent
    try:
        sha = _git(folder, "rev-parse", "HEAD")
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {"git_sha": os.environ.get("XLHARM_GIT_SHA"), "dirty": None}
    return {"git_sha": sha, "dirty": dirty}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = torch.__version__ if name == "torch" else version(name)  # with its build: 2.13.0+cpu
        except PackageNotFoundError:
            continue
    return versions


def provenance(*, device: torch.device, dtype: str, engine: dict[str, Any] | None, pack: int) -> dict[str, Any]:
    """Describe the code, packages and hardware of this process.

    Args:
        device: where it computes.
        dtype: number type of the base.
        engine: name and settings of the training engine; None for a stage that does not train.
        pack: number of slots of the pack.
    """
    cuda = device.type == "cuda"
    return {
        **_code(),
        "versions": _versions(),
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "engine": engine,
        "pack_size": pack,
        "platform": platform.platform(),
    }
