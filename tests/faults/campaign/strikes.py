"""The faults that a campaign strikes with: signals to processes, trouble of the store's files, clocks, damage at rest."""

import contextlib
import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.campaign import troubles
from tests.faults.campaign.arena import Arena, Drivers, NoArena, end, with_role

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
    ("worker", KILL): 10, ("worker", STOP): 12, ("worker", TERM): 5,
    ("driver", KILL): 6, ("driver", STOP): 8, ("driver", TERM): 2, ("driver", INT): 1, ("driver", HUP): 1,
    ("raylet", KILL): 2, ("raylet", STOP): 5, ("raylet", TERM): 1,
    ("gcs", STOP): 5, ("gcs", KILL): 1, ("gcs", TERM): 1,
    ("dashboard agent", KILL): 1, ("dashboard agent", STOP): 3, ("runtime-env agent", KILL): 1,
    ("runtime-env agent", STOP): 3, ("monitor", KILL): 1, ("log monitor", STOP): 1, ("dashboard", KILL): 1,
}  # fmt: skip
OTHERS = {"second driver": 2, "flipped bit": 5, "cut checkpoint": 4, "clock step": 5}
_DISK_WEIGHT = 4  # of each kind of trouble with files


@dataclass(kw_only=True)
class Field:
    """What faults are struck at.

    Attributes:
        arena: the cluster.
        drivers: the drivers.
        store: the store's folder.
        orders: the folder of orders.
        ranks: processes of a worker.
        damaged: folders of stages whose files were changed.
    """

    arena: Arena | NoArena
    drivers: Drivers
    store: Path
    orders: Path
    ranks: int
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
    _later(6.0, lambda: (at.orders / "clock.json").unlink())
    return f"by {offset:+.0f} s"


def _flip(at: Field, rng: random.Random, number: int) -> str | None:
    paths = sorted(at.store.glob("stages/*/*/*"))
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
    paths = sorted(at.store.glob("partial/*/*"))
    if not paths:
        return None
    with contextlib.suppress(FileNotFoundError):
        path = rng.choice(paths)
        os.truncate(path, path.stat().st_size // 2)
        return "checkpoint"
    return None


_OTHERS: dict[str, Callable[[Field, random.Random, int], str | None]] = {
    "second driver": _second_driver, "flipped bit": _flip, "cut checkpoint": _cut, "clock step": _clock,
}  # fmt: skip
