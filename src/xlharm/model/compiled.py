"""Compiled code stays in the user's cache folder, where later processes of this version of xlharm find it."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import torch

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_KEPT_SECONDS = 30 * 86_400.0  # folders of other versions that were not used for so long are deleted
_SOURCES = ("model", "train", "evaluate")  # rooms whose code is compiled


def keep_compiled_code() -> Path | None:
    """Let torch keep compiled code in a private folder; return it, or None where the user has chosen another one.

    torch's own default is a folder in /tmp that other users can make first, and what is in it is unpickled. Its key of
    a graph leaves out the code of functions with a backward pass of their own, so it does not keep these by default;
    here the folder's name has the digest of all code that is compiled.
    """
    if _VARIABLE in os.environ and Path(os.environ[_VARIABLE]).parent != _place():
        return None
    folder = _place() / _digest()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.touch()
        _forget(folder.parent, now=time.time())
    except OSError:  # read-only, or full: then the code is compiled each time
        return None
    os.environ[_VARIABLE] = str(folder)
    torch._functorch.config.autograd_cache_allow_custom_autograd_functions = True  # noqa: SLF001 - its only name
    return folder


def _place() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "xlharm" / "compiled"  # noqa: PTH111 - Path.expanduser raises without a home


def _digest() -> str:
    """Return the digest of what compiled code depends on beside its inputs and the card, which torch's keys hold."""
    digest = hashlib.sha256(bytes(torch.__version__, "utf-8"))
    package = Path(__file__).parent.parent
    for file in sorted(file for room in _SOURCES for file in (package / room).rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _forget(place: Path, *, now: float) -> None:
    for folder in place.iterdir():
        if now - folder.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
