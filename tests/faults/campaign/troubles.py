"""Faults of files and clocks in processes that run: a campaign orders them by files in a folder of its own.

The folder is named by the variable ``XLHARM_TROUBLES``, which only tests know. In it, ``disk.json`` says which
operations of the store fail or are slow, and ``clock.json`` by how much the clock has been set. What was done is
appended to ``hits`` (operations that failed) and ``journal`` (stages that were begun).
"""

import json
import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from tests.store.stepping import SteppingDisk
from xlharm.store import files

VARIABLE = "XLHARM_TROUBLES"
_installed: list[str] = []


def folder() -> Path | None:
    """Return the folder of orders; None outside a campaign."""
    return Path(os.environ[VARIABLE]) if VARIABLE in os.environ else None


def order(place: Path, name: str, **content: Any) -> None:
    """Give an order, in one step."""
    new = place / f".{name}"
    new.write_text(json.dumps(content))
    new.replace(place / name)


def note(name: str, *words: object) -> None:
    """Append a line to a file of the folder, with the time by the real clock."""
    if (place := folder()) is not None:
        with (place / name).open("a") as handle:
            handle.write(" ".join(map(str, (*words, f"{time.time_ns() / 1e9:.3f}"))) + "\n")


def install(who: str) -> None:
    """Put this process's store on a disk, and this process on a clock, that obey orders.

    Args:
        who: `driver` or `worker`; orders may name one of them. The first call in a process decides.
    """
    if folder() is None or _installed:
        return
    _installed.append(who)
    mock.patch.object(files, "Disk", partial(TroubledDisk, who)).start()
    mock.patch.object(time, "time", partial(_set_clock, time.time)).start()


class TroubledDisk(SteppingDisk):
    """A disk whose operations fail, or take long, while an order says so."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._rng = random.Random(os.getpid())

    def _step(self, operation: str, path: Path) -> None:
        what = _read("disk.json")
        if not what or what["who"] not in {self._who, "all"} or operation not in what["operations"]:
            return
        if time.monotonic() > what["until"] or self._rng.random() >= what["share"]:
            return
        note("hits", what["number"], operation, self._who)
        time.sleep(what["seconds"])
        if what["errno"]:
            raise OSError(what["errno"], os.strerror(what["errno"]), str(path))

    def stat(self, path: Path) -> os.stat_result:
        found = super().stat(path)
        if not (clock := _read("clock.json")) or found.st_mtime < clock["since"]:
            return found
        note("hits", clock["number"], "clock", self._who)
        return _dated(found, clock["offset"])


def _dated(found: os.stat_result, offset: float) -> os.stat_result:
    """Return the same, written at another time; times are whole seconds then."""
    fields = list(found)
    fields[8] = int(found.st_mtime + offset)
    return os.stat_result(fields[:10])


def _set_clock(clock: Callable[[], float]) -> float:
    return clock() + _offset()


def _offset() -> float:
    return float(_read("clock.json").get("offset", 0.0))


def _read(name: str) -> dict[str, Any]:
    """Return an order; empty when there is none."""
    place = folder()
    try:
        return dict(json.loads((place / name).read_bytes())) if place is not None else {}
    except FileNotFoundError:
        return {}
