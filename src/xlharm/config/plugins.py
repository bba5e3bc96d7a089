"""Plug-in files: methods, probes and judges in Python files that a grid lists under `plugins`.

The source of a file is sent to the workers with the grid. Its digest is part of the keys of the stages that use its
classes, so these stages run again when the file changes. Installed packages provide plug-ins by entry points instead;
see ``config/kinds.py``.
"""

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from xlharm.config.kinds import Kinds, source_digest
from xlharm.errors import UserError, nearest
from xlharm.judges import JUDGES
from xlharm.methods import METHODS
from xlharm.plain_files import expanded
from xlharm.probes import PROBES

ROOMS: tuple[Kinds[Any], ...] = (METHODS, PROBES, JUDGES)
"""The rooms that a plug-in may add classes to."""


@dataclass(frozen=True, kw_only=True)
class PluginFile:
    """A plug-in file.

    Attributes:
        path: path that it was read from, for messages.
        source: its text.
    """

    path: str
    source: str

    @property
    def digest(self) -> str:
        """Digest of the source, which is part of keys."""
        return source_digest(self.source.encode("utf-8"))


def find_plugins(names: object, *, root: Path, grid: str) -> list[str]:
    """Return the absolute paths of a grid's plug-in files. Relative paths are relative to the grid file's folder.

    Args:
        names: value of `plugins` in the grid.
        root: folder of the grid file.
        grid: name of the grid, for messages.

    Raises:
        UserError: ``names`` is not a list of texts, or a file does not exist.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{grid}: plugins: expected a list of Python files, found {names!r}")
    paths = []
    for name in names:
        path = (root / expanded(name)).resolve()
        if not path.is_file():
            beside = nearest(path.name, (p.name for p in path.parent.glob("*.py"))) if path.parent.is_dir() else ""
            raise UserError(f"{grid}: plugins: {name}: no such file{beside}")
        paths.append(str(path))
    return paths


def read_plugin(path: str) -> PluginFile:
    """Read a plug-in file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return PluginFile(path=path, source=Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"plugins: {path}: cannot be read: {error}") from None


def load_plugins(files: Iterable[PluginFile]) -> None:
    """Run plug-in files and add their classes to the rooms. A file that was already loaded is not run again.

    Raises:
        UserError: a file raises an error, defines no class of a room, or uses the name of one of xlharm's classes.
    """
    for file in files:
        module = _module(file)
        count = 0
        for room in ROOMS:
            classes = room.among(module)
            for kind in classes.values():
                if inspect.isabstract(kind):
                    lacking = ", ".join(sorted(kind.__abstractmethods__))
                    raise UserError(f"plugins: {file.path}: {kind.__name__} lacks {lacking}")
                kind.source_digest = file.digest
            room.register(classes)
            count += len(classes)
        if not count:
            words = ", ".join(f"{room.word} (a class with one `{room.tag}`)" for room in ROOMS)
            raise UserError(f"plugins: {file.path}: it defines no {words}")


@cache
def _module(file: PluginFile) -> ModuleType:
    name = f"xlharm_plugin_{file.digest[:16]}"
    module = ModuleType(name)
    module.__file__ = file.path
    sys.modules[name] = module  # classes look their module up there
    try:
        exec(compile(file.source, file.path, "exec"), module.__dict__)  # noqa: S102 - user's own code, listed in the grid
    except Exception as error:  # noqa: BLE001 - any error of the user's code is reported in one line
        del sys.modules[name]
        raise UserError(f"plugins: {file.path}{_line(error, file.path)}: {type(error).__name__}: {error}") from None
    return module


def _line(error: BaseException, path: str) -> str:
    """Return the line of a file in which an error was raised, as ``:12``."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    lines = []
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == path:
            lines.append(step.tb_lineno)
        step = step.tb_next
    return f":{lines[-1]}" if lines else ""
