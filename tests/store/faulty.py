"""A disk that fails on order: an error, a killed process, or a loss of power at one of its operations."""

import os
import random
from pathlib import Path
from typing import Literal

from tests.store.stepping import SteppingDisk
from xlharm.store.disk import Disk

WRITES = ("write", "make_folder", "share", "sync", "move", "remove", "remove_folder")
READS = ("read", "digest", "stat", "entries")


class CrashError(BaseException):
    """The process has been killed here: nothing that it would do afterwards happens."""


class FaultyDisk(SteppingDisk):
    """Does what a disk does, and counts it.

    Args:
        fault: the error number that it raises, or `crash` (the process is killed before the operation), `torn` (in the
            middle of it: half of a file is written), `power` (the machine stops: what was not synced may be lost).
        counted: the operations that count.
        times: how many operations fail from there on, for an error number.
        seed: which of the operations that were not synced are lost with the power.

    Attributes:
        count: number of operations so far.
        failed: the operation that failed, with its file.
    """

    def __init__(
        self,
        *,
        fault: int | Literal["crash", "torn", "power"] = "crash",
        counted: tuple[str, ...] = WRITES,
        times: int = 1,
        seed: int = 0,
    ) -> None:
        self.count = 0
        self.failed = ""
        self._at, self._fault, self._counted, self._times = -1, fault, counted, times
        self._rng = random.Random(seed)
        self._dead = False
        self._unsynced: set[Path] = set()  # files whose content may be lost
        self._moves: list[tuple[Path, Path, bytes | None]] = []  # from, to, the file that was replaced

    def begin(self, at: int) -> None:
        """Count from here on; the operation of this number fails."""
        self.count, self._at = 0, at

    def _step(self, operation: str, path: Path) -> bool:
        """Count an operation; return whether it is torn. Raises the fault when it is its turn."""
        if self._dead:
            raise CrashError
        if operation not in self._counted:
            return False
        self.count += 1
        if not self._at <= self.count - 1 < self._at + self._times or self._at < 0:
            return False
        self.failed = f"{operation} {path.name}"
        if isinstance(self._fault, int):
            raise OSError(self._fault, os.strerror(self._fault), str(path))
        self._dead = True
        if self._fault == "power":
            self._lose_power()
        if self._fault == "torn" and operation == "write":
            return True
        raise CrashError

    def _lose_power(self) -> None:
        for source, target, replaced in reversed(self._moves):
            if self._rng.random() < 0.5:
                target.replace(source)
                if replaced is not None:
                    target.write_bytes(replaced)
                self._unsynced = {_renamed(path, target, source) for path in self._unsynced}
        for path in self._unsynced:
            if path.exists():
                content = path.read_bytes()
                path.write_bytes(content[: self._rng.randrange(len(content) + 1)])

    # -- writes ----------------------------------------------------------------------------------------------

    def write(self, path: Path, content: bytes, *, new: bool = False) -> None:
        if self._step("write", path):
            Disk.write(self, path, content[: len(content) // 2], new=new)
            raise CrashError
        Disk.write(self, path, content, new=new)  # its step is done
        self._unsynced.add(path)

    def sync(self, path: Path) -> None:
        self._step("sync", path)  # nothing waits for the real disk
        self._unsynced.discard(path)
        self._moves = [move for move in self._moves if move[1].parent != path]

    def move(self, path: Path, target: Path) -> None:
        replaced = target.read_bytes() if target.is_file() else None
        super().move(path, target)
        self._moves.append((path, target, replaced))
        self._unsynced = {_renamed(each, path, target) for each in self._unsynced}


def _renamed(path: Path, source: Path, target: Path) -> Path:
    return target / path.relative_to(source) if path.is_relative_to(source) else path
