"""Leases: two drivers on one store do not do the same work twice."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from xlharm.store.store import Store

STALE_SECONDS = 60.0
BEAT_SECONDS = 10.0


class Leases:
    """The leases that one driver holds, kept alive by a heartbeat thread.

    A lease is a file that names its owner; it goes stale when its heartbeat stops for a minute, or at once
    when its owner was a process of this machine that is gone. Leases save work; correctness never depends on
    them, because commits are atomic and idempotent.
    """

    def __init__(self, store: Store) -> None:
        self._folder = store.local / "leases"
        self._enabled = not store.remote  # object stores have no exclusive creation that all of them honour
        self._owner = json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "start": _start(os.getpid()),
                "token": uuid.uuid4().hex,
            }
        )
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._enabled:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        for key in list(self._held):
            self.release(key)

    def claim(self, key: str) -> bool:
        """Take the lease of a stage; False when another living driver holds it."""
        if not self._enabled or key in self._held:
            return True
        path = self._path(key)
        if path.exists() and self._stale(path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        try:
            with path.open("x", encoding="utf-8") as handle:
                handle.write(self._owner)
        except FileExistsError:
            return False
        self._held.add(key)
        return True

    def release(self, key: str) -> None:
        """Give a lease back."""
        if key in self._held:
            self._held.discard(key)
            with contextlib.suppress(FileNotFoundError):
                self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self._folder / key[:16]

    def _stale(self, path: Path) -> bool:
        try:
            age = time.time() - path.stat().st_mtime
            owner = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return True
        except ValueError:
            return age > BEAT_SECONDS  # being written this moment, or damaged
        if owner.get("host") == socket.gethostname():
            return _start(int(owner["pid"])) != str(owner.get("start"))
        return age > STALE_SECONDS

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            for key in list(self._held):
                with contextlib.suppress(OSError):
                    os.utime(self._path(key))


def _start(pid: int) -> str:
    """Return the start time of a process (Linux), so that a reused pid is not mistaken for its owner."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""
