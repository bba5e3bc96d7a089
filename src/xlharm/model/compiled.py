"""Compiled code stays in a private folder of the user, where later processes find it."""

import os
import tempfile
from pathlib import Path

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def keep_compiled_code() -> Path | None:
    """Let torch keep compiled code in a private folder; return it, or None where the user has chosen another one.

    What is in the folder is unpickled. Torch's own default is a folder in /tmp, which other users can make first.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen and not _by_torch(Path(chosen)):
        return None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - Path.expanduser raises without a home
    folder = Path(home) / "xlharm" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError:  # read-only, full, or not ours: then torch's own stays
        return None
    os.environ[_VARIABLE] = str(folder)
    return folder


def _by_torch(folder: Path) -> bool:
    """Whether torch has chosen a folder itself: it sets the variable when it first looks for compiled code."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")
