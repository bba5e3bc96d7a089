"""Leases: two drivers on one store do not do the same work twice."""

import contextlib
import json
import math
import os
import socket
import threading
import time
import uuid
from functools import cache, cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Self

from xlharm.errors import StoreError
from xlharm.parallel import side_by_side
from xlharm.store.files import Files

STALE_SECONDS = 60.0
BEAT_SECONDS = 10.0
_BEAT = "driver-"
_REFUSALS = {400, 405, 501}


class Leases:
    """The leases that one driver holds, and its heartbeat: a file that a thread writes again and again.

    A lease is a file that names its owner. It goes stale when the owner's heartbeat stops for a minute by the
    store's clock, or at once when its owner was a process of this machine that is gone. Who takes a stale lease over
    creates its successor, a file whose name says whom it follows: creating a file exclusively is all that is
    asked of a store. Leases save work; correctness never depends on them, because commits are idempotent.

    Attributes:
        trouble: why this store has no leases; empty when it has.
    """

    def __init__(self, store: Files) -> None:
        self._store = store
        self._token = uuid.uuid4().hex[:12]
        me = {"machine": _machine(), "pid": os.getpid(), "start": _start(os.getpid()), "token": self._token}
        self._owner = json.dumps(me)
        self._held: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="lease-heartbeat", daemon=True)
        self.trouble = ""

    def __enter__(self) -> Self:
        try:
            if all(self._store.create(_beat(self._token), self._owner) for _ in range(2)):
                self.trouble = "it does not know exclusive creation"
        except StoreError as error:
            if error.status not in _REFUSALS and not isinstance(error.__cause__, (NotImplementedError, ValueError)):
                raise
            self.trouble = str(error)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for key in list(self._held):
            self.release(key)
        with contextlib.suppress(StoreError):
            self._store.remove(_beat(self._token))

    def claim(self, key: str) -> bool:
        """Take the lease of a stage; False when another living driver holds it."""
        if self.trouble or key in self._held:
            return True
        chain = [f"leases/{key[:16]}"]
        while not self._store.create(chain[-1], self._owner):
            token, alive = self._look(chain[-1])
            if token == self._token:
                break  # the answer to our creating it was lost
            if alive or not token:
                return False
            chain.append(f"{chain[-1]}-{token}")
        self._held[key] = chain
        return True

    def release(self, key: str) -> None:
        """Give a lease back."""
        with contextlib.suppress(StoreError):  # it goes stale by itself
            self._store.remove(*self._held.pop(key, ()))

    def running(self) -> set[str]:
        """Return the first 16 digits of the keys that living drivers hold."""
        names = [name for name in self._store.listing("leases") if f"/{_BEAT}" not in name]
        looks = side_by_side([partial(self._look, name) for name in names])
        return {Path(name).name[:16] for name, (_, alive) in zip(names, looks, strict=True) if alive}

    def _look(self, name: str) -> tuple[str, bool]:
        """Return the token of a lease's owner, and whether it lives; no token when the lease was given back."""
        try:
            owner = json.loads(self._store.read_text(name))
            if owner["machine"] == _machine():
                return owner["token"], _start(int(owner["pid"])) == owner["start"]
            return owner["token"], self._age(_beat(owner["token"])) <= STALE_SECONDS
        except FileNotFoundError:
            return "", False
        except (KeyError, TypeError, ValueError):
            return "damaged", self._age(name) <= BEAT_SECONDS  # or being written this moment

    @cached_property
    def _ahead(self) -> float:
        """How far the store's clock is ahead of this process's, asked when another machine's lease is looked at."""
        try:
            return self._store.now() - time.monotonic()
        except (OSError, StoreError):  # it may only be read: machines agree on the time, more or less
            return time.time() - time.monotonic()

    def _age(self, name: str) -> float:
        try:
            return self._ahead + time.monotonic() - self._store.modified(name)
        except FileNotFoundError:
            return math.inf

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                self._store.write_text(_beat(self._token), self._owner)


def _beat(token: str) -> str:
    return f"leases/{_BEAT}{token}"


@cache
def _machine() -> str:
    """Name the machine, or the container: a process id means something there only."""
    try:
        boot, space = Path("/proc/sys/kernel/random/boot_id").read_text(), Path("/proc/self/ns/pid").readlink()
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {boot.strip()} {space}"


def _start(pid: int) -> str:
    """Return the start time of a process (Linux), so that a reused pid is not mistaken for its owner.

    Nothing when it has ended, even when nobody has waited for it yet: containers often have nobody who would.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if state in {"Z", "X"} else rest[18]
