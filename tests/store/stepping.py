"""A disk that says each of its operations before it does it."""

import os
from pathlib import Path

from xlharm.store.disk import Disk


class SteppingDisk(Disk):
    """Calls ``_step`` before every operation, which a subclass counts, delays or lets fail."""

    def _step(self, operation: str, path: Path) -> object:
        raise NotImplementedError

    def write(self, path: Path, content: bytes, *, new: bool = False) -> None:
        self._step("write", path)
        super().write(path, content, new=new)

    def make_folder(self, path: Path) -> None:
        self._step("make_folder", path)
        super().make_folder(path)

    def sync(self, path: Path) -> None:
        self._step("sync", path)
        super().sync(path)

    def move(self, path: Path, target: Path) -> None:
        self._step("move", path)
        super().move(path, target)

    def remove(self, path: Path) -> None:
        self._step("remove", path)
        super().remove(path)

    def remove_folder(self, path: Path) -> None:
        self._step("remove_folder", path)
        super().remove_folder(path)

    def share(self, path: Path) -> None:
        self._step("share", path)
        super().share(path)

    def read(self, path: Path) -> bytes:
        self._step("read", path)
        return super().read(path)

    def digest(self, path: Path) -> str:
        self._step("digest", path)
        return super().digest(path)

    def stat(self, path: Path) -> os.stat_result:
        self._step("stat", path)
        return super().stat(path)

    def entries(self, path: Path) -> list[tuple[str, bool]]:
        self._step("entries", path)
        return super().entries(path)
