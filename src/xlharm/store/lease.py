"""Leases keep two drivers on one store from computing the same stage."""

import contextlib
import json
import math
import os
import threading
import time
import uuid
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Self

from xlharm.errors import StoreError
from xlharm.parallel import side_by_side
from xlharm.plan.digest import digest
from xlharm.store.files import Files
from xlharm.store.process import machine, start_of

STALE_SECONDS = 60.0  # a driver counts as dead after so many seconds without a heartbeat
BEAT_SECONDS = 10.0  # between heartbeats
_BEAT = "driver-"  # prefix of heartbeat files
_REFUSALS = {400, 405, 501}  # HTTP: the server does not support exclusive creation


class Leases:
    """The leases that one driver holds, and its heartbeat: a file that a thread rewrites every ten seconds.

    A lease is a file that names its owner. It becomes stale when the owner's heartbeat is older than a minute by the
    store's clock, or at once when the owner was a process of this machine that has ended. A stopped process counts
    like one of another machine. A driver that takes over a stale lease creates its successor: a file whose name
    follows from the old file's name and owner. So a store needs only one guarantee: exclusive creation of files.
    Leases only save work: results are correct without them, because commits are idempotent.

    Attributes:
        trouble: why this store cannot hold leases; empty when it can.
    """

    def __init__(self, store: Files) -> None:
        self._store = store
        self._token = uuid.uuid4().hex[:12]
        owner = {"machine": machine(), "pid": os.getpid(), "start": start_of(os.getpid()), "token": self._token}
        self._owner = json.dumps(owner)
        self._held: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="lease-heartbeat", daemon=True)
        self.trouble = ""

    def __enter__(self) -> Self:
        try:
            if all(self._store.create(_beat(self._token), self._owner) for _ in range(2)):
                self.trouble = "it does not support exclusive creation of files"
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

    @property
    def token(self) -> str:
        """The name of this driver in the store."""
        return self._token

    def claim(self, key: str) -> bool:
        """Take the lease of a stage; False when another living driver holds it."""
        if self.trouble or key in self._held:
            return True
        chain = [f"leases/{key[:16]}"]
        while not self._store.create(chain[-1], self._owner):
            token, alive = self._read_lease(chain[-1])
            if token == self._token:
                break  # we created it, but the store's answer was lost
            if alive or not token:
                return False
            chain.append(_successor(chain[-1], token))
        self._held[key] = chain
        return True

    def release(self, key: str) -> None:
        """Give up a lease."""
        with contextlib.suppress(StoreError):  # a lease that is not removed becomes stale
            self._store.remove(*self._held.pop(key, ()))

    def running(self) -> set[str]:
        """Return the first 16 digits of the keys that living drivers hold."""
        names = [name for name in self._store.listing("leases") if f"/{_BEAT}" not in name]
        return {Path(name).name[:16] for name, alive in self._alive(names).items() if alive}

    def drivers(self) -> set[str]:
        """Return the tokens of the living drivers."""
        names = [name for name in self._store.listing("leases") if f"/{_BEAT}" in name]
        return {name.rpartition(_BEAT)[2] for name, alive in self._alive(names).items() if alive}

    def dead(self) -> list[str]:
        """Return the names of the files of drivers that have ended: their heartbeats, and leases nobody took over."""
        alive = self._alive(list(self._store.listing("leases")))
        held = {Path(name).name[:16] for name, lives in alive.items() if lives}
        return [name for name, lives in alive.items() if not lives and Path(name).name[:16] not in held]

    def _alive(self, names: list[str]) -> dict[str, bool]:
        """Return for each of these leases and heartbeats whether its owner is alive."""
        leases = side_by_side([partial(self._read_lease, name) for name in names])
        return {name: alive for name, (_, alive) in zip(names, leases, strict=True)}

    def _read_lease(self, name: str) -> tuple[str, bool]:
        """Return the token of a lease's owner, and whether the owner is alive; an empty token when it is released."""
        try:
            owner = json.loads(self._store.read_text(name))
            if owner["machine"] == machine():
                lives = start_of(int(owner["pid"])) == owner["start"]
                if lives and _is_stopped(int(owner["pid"])):  # by Ctrl-Z: it may never go on
                    lives = self._age(_beat(owner["token"])) <= STALE_SECONDS
                return owner["token"], lives
            return owner["token"], self._age(_beat(owner["token"])) <= STALE_SECONDS
        except FileNotFoundError:
            return "", False
        except (KeyError, TypeError, ValueError):
            return "damaged", self._age(name) <= BEAT_SECONDS  # a recent one may still be being written

    @cached_property
    def _clock_offset(self) -> float:
        """Seconds by which the store's clock is ahead of ``time.monotonic``; needed only for other machines' leases."""
        with contextlib.suppress(OSError, StoreError):
            if self._store.writes:
                return self._store.now() - time.monotonic()
        # who may not write cannot ask for the store's time, and assumes that the clocks agree
        return time.time() - time.monotonic()

    def _age(self, name: str) -> float:
        try:
            return self._clock_offset + time.monotonic() - self._store.modified(name)
        except FileNotFoundError:
            return math.inf

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                self._store.write_text(_beat(self._token), self._owner)


def _beat(token: str) -> str:
    return f"leases/{_BEAT}{token}"


def _successor(name: str, token: str) -> str:
    """Return the name of the lease that follows a stale one; all names have the same length."""
    return f"{name[: len('leases/') + 16]}-{digest([name, token])[:12]}"


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in {"T", "t"}
    except OSError:
        return False
