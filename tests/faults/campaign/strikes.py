"""The faults that a campaign strikes with: signals to processes, trouble with files, clocks, memory, and damage."""

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.campaign import troubles
from tests.faults.campaign.arena import Arena, Drivers, NoArena, end, with_role
from tests.s3 import S3

KILL, STOP, TERM, INT, HUP = (
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
)  # fmt: skip
WRITES, READS = ["write", "make_folder", "sync", "move", "remove"], ["read", "digest", "stat", "entries"]
# kind: (operations, error or 0, seconds that each takes, share of the operations)
DISK = {
    "full disk": (WRITES[:3], errno.ENOSPC, 0.0, 0.5),
    "EIO of writes": (WRITES, errno.EIO, 0.0, 0.3),
    "EIO of renames": (["move"], errno.EIO, 0.0, 0.5),
    "EIO of fsync": (["sync"], errno.EIO, 0.0, 0.3),
    "EIO of reads": (READS, errno.EIO, 0.0, 0.05),
    "ESTALE": ([*READS, *WRITES], errno.ESTALE, 0.0, 0.05),
    "EMFILE": (["read", "digest", "entries", "write"], errno.EMFILE, 0.0, 0.1),
    "EACCES": (["read", "digest", "stat"], errno.EACCES, 0.0, 0.05),
    "slow rename": (["move"], 0, 0.8, 1.0),
    "slow fsync": (["sync"], 0, 0.4, 1.0),
    "slow files": ([*READS, *WRITES], 0, 0.05, 1.0),
}
# how often a kind is chosen: what makes a machine start again costs a hundred times as much as a slow file
PROCESSES: dict[tuple[str, signal.Signals], int] = {
    ("worker", KILL): 20, ("worker", STOP): 30, ("worker", TERM): 10,
    ("driver", KILL): 12, ("driver", STOP): 20, ("driver", TERM): 4, ("driver", INT): 3, ("driver", HUP): 3,
    ("raylet", KILL): 4, ("raylet", STOP): 12, ("raylet", TERM): 2,
    ("gcs", STOP): 12, ("gcs", KILL): 1, ("gcs", TERM): 1,
    ("dashboard agent", KILL): 2, ("dashboard agent", STOP): 6, ("runtime-env agent", KILL): 2,
    ("runtime-env agent", STOP): 6, ("log monitor", KILL): 2, ("log monitor", STOP): 2, ("dashboard", KILL): 2,
}  # fmt: skip
OTHERS = {
    "second driver": 4, "flipped bit": 12, "cut checkpoint": 10, "clock step": 12, "memory eaten": 20,
    "errors of S3": 20, "slow S3": 10,
}  # fmt: skip
LIMIT = "RAY_memory_usage_threshold"
_MOST_EATEN = 3 << 30  # bytes
_DISK_WEIGHT = 12  # of each kind of trouble with files


@dataclass(kw_only=True)
class Field:
    """What faults are struck at.

    Attributes:
        arena: the cluster.
        drivers: the drivers.
        store: the store's folder; None when it is in a bucket.
        orders: the folder of orders.
        ranks: processes of a worker.
        server: the server of the bucket.
        damaged: folders of stages whose files were changed.
    """

    arena: Arena | NoArena
    drivers: Drivers
    store: Path | None
    orders: Path
    ranks: int
    server: S3 | None = None
    damaged: set[str] = field(default_factory=set)


def kinds(*, only: tuple[str, ...] = ()) -> dict[str, int]:
    """Return the kinds of faults, and how often each is chosen; ``only`` keeps kinds that begin with one of these."""
    processes = {f"{number.name} {role}": weight for (role, number), weight in PROCESSES.items()}
    every = {**processes, **dict.fromkeys(DISK, _DISK_WEIGHT), **OTHERS}
    return {kind: weight for kind, weight in every.items() if not only or kind.startswith(only)}


def strike(kind: str, at: Field, rng: random.Random, *, number: int) -> str | None:
    """Strike; return what was hit, or None when there is nothing to hit now."""
    if kind in DISK:
        return _files(kind, at, rng, number=number)
    if kind in OTHERS:
        return _OTHERS[kind](at, rng, number)
    name, _, role = kind.partition(" ")
    if role == "driver":
        pids = [at.drivers.current.pid] if at.drivers.current is not None else []
    else:
        pids = with_role(role, at.arena.pids() | at.drivers.pids())
    if not pids:
        return None
    pid = rng.choice(pids)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.Signals[name])
        if name == "SIGSTOP":
            seconds = rng.choice((1.0, 3.0, 8.0))
            _later(seconds, lambda: os.kill(pid, signal.SIGCONT))
            return f"{role} for {seconds:.0f} s"
        return role if at.ranks == 1 or role != "worker" else "rank of a gang"
    return None


def _later(seconds: float, act: Callable[[], object]) -> None:
    def run() -> None:
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            act()

    threading.Thread(target=run, daemon=True).start()


def _files(kind: str, at: Field, rng: random.Random, *, number: int) -> str:
    operations, error, seconds, share = DISK[kind]
    who, duration = rng.choice(("worker", "worker", "driver", "all")), rng.choice((1.0, 2.0, 4.0))
    troubles.order(
        at.orders, "disk.json", number=number, who=who, operations=operations, errno=error, seconds=seconds,
        share=share, until=time.monotonic() + duration,
    )  # fmt: skip
    return f"{who} for {duration:.0f} s"


def _second_driver(at: Field, rng: random.Random, number: int) -> str:
    process, seconds = at.drivers.second(), rng.choice((4.0, 8.0, 15.0))
    _later(seconds, lambda: end(process))
    return f"killed after {seconds:.0f} s"


def _clock(at: Field, rng: random.Random, number: int) -> str:
    offset = rng.choice((-86_400.0, -3600.0, -90.0, 90.0, 3600.0, 86_400.0))
    troubles.order(at.orders, "clock.json", number=number, offset=offset, since=time.time())
    _later(6.0, (at.orders / "clock.json").unlink)
    return f"by {offset:+.0f} s"


def _flip(at: Field, rng: random.Random, number: int) -> str | None:
    paths = sorted(at.store.glob("stages/*/*/*")) if at.store is not None else []
    if not paths:
        return None
    path = rng.choice(paths)
    try:
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        at.damaged.add(path.parent.name)
        path.write_bytes(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return path.name


def _cut(at: Field, rng: random.Random, number: int) -> str | None:
    paths = sorted(at.store.glob("partial/*/*")) if at.store is not None else []
    if not paths:
        return None
    with contextlib.suppress(FileNotFoundError):
        path = rng.choice(paths)
        os.truncate(path, path.stat().st_size // 2)
        return "checkpoint"
    return None


def _memory(at: Field, rng: random.Random, number: int) -> str | None:
    """Fill the machine's memory up to what the cluster was told to take for full, for some seconds."""
    limit = float(at.arena.env.get(LIMIT, "inf"))
    memory = psutil.virtual_memory()
    size = int(limit * memory.total - (memory.total - memory.available)) + (300 << 20)
    if not 0 < size < min(_MOST_EATEN, memory.available - (2 << 30)):
        return None
    seconds = rng.choice((3.0, 6.0))
    eater = subprocess.Popen([sys.executable, "-c", f"x = bytes(1) * {size}; import time; time.sleep({seconds})"])
    _later(seconds + 60.0, eater.wait)
    return f"{size >> 20} MB for {seconds:.0f} s"


def _errors_of_the_server(at: Field, rng: random.Random, number: int) -> str | None:
    if (server := at.server) is None:
        return None
    word, seconds = rng.choice(("/", "leases/", "stages/", "_SUCCESS", "partial/")), rng.choice((0.5, 1.0, 3.0))
    server.broken = word
    _later(seconds, lambda: setattr(server, "broken", None))
    return f"{word} for {seconds:.1f} s"


def _slow_server(at: Field, rng: random.Random, number: int) -> str | None:
    if (server := at.server) is None:
        return None
    server.delay, seconds = rng.choice((0.2, 1.0, 5.0)), rng.choice((2.0, 6.0))
    _later(seconds, lambda: setattr(server, "delay", 0.0))
    return f"{server.delay} s for {seconds:.0f} s"


_OTHERS: dict[str, Callable[[Field, random.Random, int], str | None]] = {
    "second driver": _second_driver, "flipped bit": _flip, "cut checkpoint": _cut, "clock step": _clock,
    "memory eaten": _memory, "errors of S3": _errors_of_the_server, "slow S3": _slow_server,
}  # fmt: skip
