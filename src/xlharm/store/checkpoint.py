"""Checkpoints of long stages: files in ``STORE/partial/<pack>/``, so that any machine can continue them."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from xlharm.store.files import Files

_T = TypeVar("_T")
_SUFFIX = ".safetensors"  # half-written files have other suffixes


class Checkpoints:
    """The checkpoints of one pack, by name.

    Args:
        store: the store that holds them.
        pack: name of the pack, with everything that the form of its state depends on.
    """

    def __init__(self, store: Files, pack: str) -> None:
        self._store = store
        self._folder = f"partial/{pack}"

    def names(self) -> set[str]:
        """Return the names of the complete checkpoints."""
        return {Path(name).stem for name in self._store.listing(self._folder) if name.endswith(_SUFFIX)}

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Add a checkpoint; ``fill`` writes it to the path that it gets."""
        scratch = self._store.local / self._folder / f"{name}.tmp"
        scratch.parent.mkdir(parents=True, exist_ok=True)
        fill(scratch)
        self._store.put(scratch, self._file(name))

    def read(self, name: str, load: Callable[[Path], _T]) -> _T:
        """Return what ``load`` reads from the checkpoint's file."""
        with self._store.file(self._file(name)) as path:
            return load(path)

    def remove(self, *names: str) -> None:
        """Delete checkpoints by name."""
        self._store.remove(*map(self._file, names))

    def drop(self) -> None:
        """Delete all checkpoints of the pack, once its stages are committed."""
        self._store.remove_folder(self._folder)

    def _file(self, name: str) -> str:
        return f"{self._folder}/{name}{_SUFFIX}"
