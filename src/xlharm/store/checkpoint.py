"""Checkpoints of long stages: files in ``STORE/partial/<pack>/``, so that any machine can continue them."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from xlharm.store.files import Files

_T = TypeVar("_T")
_SUFFIX = ".safetensors"


class DamagedCheckpointError(RuntimeError):
    """A checkpoint is not what was written. Training continues from an older one, or begins again."""


class Checkpoints:
    """The checkpoints of one pack, by name. The name of a file ends with the SHA-256 of its content.

    Args:
        store: the store that holds them.
        pack: the pack's id.
        form: everything else that the form of its state depends on.
    """

    def __init__(self, store: Files, pack: str, *, form: str = "") -> None:
        self._store = store
        self._pack = pack
        self._folder = f"partial/{pack}{f'-{form}' if form else ''}"

    def names(self) -> set[str]:
        """Return the names of the complete checkpoints."""
        return set(self._files())

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Add a checkpoint; ``fill`` writes it to the path that it gets."""
        with self._store.scratch() as scratch:
            fill(scratch / name)
            sha256 = self._store.disk.digest(scratch / name)
            self._store.put(scratch / name, f"{self._folder}/{name}.{sha256}{_SUFFIX}", sync=False)

    def read(self, name: str, load: Callable[[Path], _T]) -> _T:
        """Return what ``load`` reads from the checkpoint's file.

        Raises:
            DamagedCheckpointError: the file is not what was written, or is gone.
        """
        for file in self._files().get(name, ()):
            with contextlib.suppress(FileNotFoundError), self._store.file(file) as path:
                sha256 = self._store.patiently(partial(self._store.disk.digest, path), file)
                if sha256 == file.split(".")[-2]:
                    return load(path)
        raise DamagedCheckpointError(f"checkpoint {self._folder}/{name} does not match its checksum")

    def remove(self, *names: str) -> None:
        """Delete checkpoints by name."""
        files = self._files()
        self._store.remove(*(file for name in names for file in files.get(name, ())))

    def drop(self) -> None:
        """Delete all checkpoints of the pack, whatever their form: its stages are committed, or it was split.

        A pack whose worker ended between two commits is run again with fewer stages, and that is another form.
        """
        with contextlib.suppress(OSError):  # leftovers do no harm; `xlharm gc` lists them
            for folder in _folders(self._store):
                if folder.split("-")[0] == self._pack:
                    self._store.remove_folder(f"partial/{folder}")

    def _files(self) -> dict[str, list[str]]:
        """Return the files of each checkpoint: several when it was written again."""
        files: dict[str, list[str]] = {}
        for file in self._store.listing(self._folder):
            if file.endswith(_SUFFIX):
                files.setdefault(file.rpartition("/")[2].split(".")[0], []).append(file)
        return files


def packs_with_checkpoints(store: Files) -> set[str]:
    """Return the ids of the packs that have checkpoints."""
    return {folder.split("-")[0] for folder in _folders(store)}


def _folders(store: Files) -> set[str]:
    if not store.remote:
        return {name for name, _ in store.names_in("partial")}
    return {file.split("/")[1] for file in store.listing("partial")}
