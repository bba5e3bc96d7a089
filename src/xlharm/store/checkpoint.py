"""Checkpoints of long stages: files in ``STORE/partial/<pack>/``, where any machine finds them."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from xlharm.store.files import Files

_T = TypeVar("_T")
_WHOLE = ".safetensors"  # what writes them has other names for half-written ones


class Checkpoints:
    """The checkpoints of one pack, by name.

    Args:
        store: where they lie.
        pack: a name of the pack and of all that its state depends on.
    """

    def __init__(self, store: Files, pack: str) -> None:
        self._store = store
        self._folder = f"partial/{pack}"

    def names(self) -> set[str]:
        """List the complete ones."""
        return {Path(name).stem for name in self._store.listing(self._folder) if name.endswith(_WHOLE)}

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Add one: ``fill`` writes it to a path."""
        scratch = self._store.local / self._folder / f"{name}.tmp"
        scratch.parent.mkdir(parents=True, exist_ok=True)
        fill(scratch)
        self._store.put(scratch, self._file(name))

    def read(self, name: str, load: Callable[[Path], _T]) -> _T:
        """Return what ``load`` makes of the file."""
        with self._store.file(self._file(name)) as path:
            return load(path)

    def remove(self, *names: str) -> None:
        """Delete some."""
        self._store.remove(*map(self._file, names))

    def drop(self) -> None:
        """Delete all: the pack's stages are committed."""
        self._store.remove_folder(self._folder)

    def _file(self, name: str) -> str:
        return f"{self._folder}/{name}{_WHOLE}"
