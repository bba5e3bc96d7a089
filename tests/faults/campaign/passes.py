"""One pass of a campaign: a grid is run from an empty store to its end, while faults are struck; then it is judged."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.campaign import troubles
from tests.faults.campaign.arena import Arena, Drivers, NoArena, ended, with_role
from tests.faults.campaign.places import Folder, Place
from tests.faults.campaign.strikes import DISK, Field, kinds, strike
from tests.faults.processes import finished
from tests.faults.test_bits import rows_of
from tests.s3 import S3
from xlharm.plan.build import Plan
from xlharm.store.store import Store

STUCK_SECONDS = 300.0  # without a stage that is stored
WAIT_SECONDS = 30.0  # without a stage that is stored, until a line says what is waited for
FINISH_SECONDS = 150.0  # before a campaign's limit, for passes to end in without further faults
MEND_SECONDS = 2.0  # between two looks of the cluster's operator
_STRUCK = {str(-number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
LEAK_SECONDS = 30.0  # after a run, until nothing may be left of it
FORESEEN = (
    "UserError:", "EngineError:", "StoreError:", "CorruptArtifactError:", "OSError:", "PermissionError:",
    "Failed to connect to GCS within",  # Ray's own line: the head ended while the driver was joining, which Ray ends
)  # fmt: skip


@dataclass(kw_only=True)
class Fault:
    """A fault that was struck.

    Attributes:
        number: its number in the campaign.
        kind: its kind.
        target: what it hit.
        struck: when, in seconds since the epoch.
        seconds: time until the next stage was stored; None when none was left.
    """

    number: int
    kind: str
    target: str
    struck: float
    seconds: float | None = None


@dataclass(kw_only=True)
class Verdict:
    """What became of a pass.

    Attributes:
        name: its name.
        faults: number of faults that were struck.
        wall: seconds from the first driver's start to the last stage.
        same_table: whether the results table is identical to that of a run without faults, byte by byte.
        twice: finished stages that were begun again although their files were never damaged.
        lost: finished stages that vanished although their files were never damaged.
        stuck: whether no stage was stored for ``STUCK_SECONDS``.
        unfinished: whether the limit came first: nothing is known then.
        leaked: what was left 30 s after the last run.
        lines: last lines of drivers that ended by themselves, by how often.
        unforeseen: those among them that are no foreseen failure.
        starts: number of drivers.
    """

    name: str
    faults: int = 0
    wall: float = 0.0
    same_table: bool = False
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stuck: bool = False
    unfinished: bool = False
    leaked: list[str] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    unforeseen: list[str] = field(default_factory=list)
    starts: int = 0

    @property
    def good(self) -> bool:
        """Whether everything that is promised was kept."""
        return self.same_table and not (self.twice or self.lost or self.stuck or self.leaked or self.unforeseen)


class Pass:
    """Runs a plan once.

    Args:
        folder: a folder for orders and the log.
        place: where the store is.
        plan: the plan.
        command: the driver's.
        arena: where it runs.
        rng: chooses the faults.
        most: number of faults.
        only: kinds of faults, by how they begin; empty for all.
        ranks: processes of a worker.
        first: number of the first fault.
        server: the server of a bucket.
        limit: when the pass is given up, by the monotonic clock; no fault is struck ``FINISH_SECONDS`` before.
    """

    def __init__(
        self, folder: Path, *, place: Place, plan: Plan, command: list[str], arena: Arena | NoArena,
        rng: random.Random, most: int, only: tuple[str, ...] = (), ranks: int = 1, first: int = 0,
        server: S3 | None = None, limit: float = float("inf"),
    ) -> None:  # fmt: skip
        self.limit = limit
        self.plan, self.place, self.command, self.rng, self.most = plan, place, command, rng, most
        self.orders = folder / "orders"
        self.drivers = Drivers(
            command, env={**arena.env, troubles.VARIABLE: str(self.orders)}, log=folder / "log.txt"
        )  # fmt: skip
        self.field = Field(
            arena=arena, drivers=self.drivers, store=place.path if isinstance(place, Folder) else None,
            orders=self.orders, ranks=ranks, server=server,
        )  # fmt: skip
        self.choices = kinds(only=only)
        self.faults: list[Fault] = []
        self.number = first
        self.stored: dict[str, float] = {}  # when each finished stage was stored, by folder
        self.verdict = Verdict(name=folder.name)
        self._open: list[Fault] = []  # faults after which no stage has been stored yet
        self._vanished: set[str] = set()
        self._progress = self._shown = time.time()  # when a stage was stored, and when a line said what is waited for

    def run(self, reference: list[bytes]) -> Verdict:
        """Run the plan while faults are struck, and judge what became of it."""
        began = time.time()
        with ended(self.drivers):
            self._strike_until_done()
            self.verdict.wall = max(self.stored.values(), default=began) - began
            for name in ("disk.json", "clock.json"):
                (self.orders / name).unlink(missing_ok=True)
            self._drop_misses()
            if not (self.verdict.stuck or self.verdict.unfinished):
                self._finish()
            if not self.verdict.unfinished:
                self._judge(reference)
        return self.verdict

    # -- the run ---------------------------------------------------------------------------------------------

    def _strike_until_done(self) -> None:
        next_strike = time.time() + self.rng.uniform(1, 6)
        waits, next_mend = True, 0.0
        while True:
            there = self.drivers.runs() or self.field.arena.can_be_joined()
            code = self.drivers.ensure(may_start=there)
            if code == 0:
                return
            if code is not None:
                print(f"  a driver has ended: {self.drivers.lines[-1]}", flush=True)
            if time.monotonic() >= self.limit:
                self.verdict.unfinished = True
                return
            now = time.time()
            if now >= next_mend:
                self.field.arena.mend()
                next_mend = time.time() + MEND_SECONDS
            if self._look():
                self._progress = self._shown = now
            if now - self._progress > STUCK_SECONDS:
                self.verdict.stuck = True
                return
            self._say_what_is_waited_for(now)
            if now >= next_strike and self._may_strike() and not (waits and self._open):
                if self._strike(now):
                    waits = self.rng.random() < 0.4  # or the next comes before this one is overcome
                next_strike = now + self.rng.uniform(0.2, 2.0)
            time.sleep(0.2)

    def _may_strike(self) -> bool:
        return len(self.faults) < self.most and time.monotonic() < self.limit - FINISH_SECONDS

    def _say_what_is_waited_for(self, now: float) -> None:
        if now - self._shown < WAIT_SECONDS:
            return
        self._shown = now
        workers = len(with_role("worker", self.field.arena.pids() | self.drivers.pids()))
        state = f"{workers} workers; {self.field.arena.state()}; {self.drivers.state()}"
        print(f"  no stage for {now - self._progress:.0f} s: {state}", flush=True)

    def _strike(self, now: float) -> bool:
        kind = self.rng.choices(list(self.choices), weights=list(self.choices.values()))[0]
        target = strike(kind, self.field, self.rng, number=self.number)
        if target is None:
            return False
        fault = Fault(number=self.number, kind=kind, target=target, struck=now)
        self.number += 1
        self.faults.append(fault)
        self._open.append(fault)
        print(f"  {fault.number} {kind}: {target}; {len(self.stored)} of {len(self.plan.stages)} stages", flush=True)
        return True

    def _look(self) -> bool:
        """Read the store; return whether a stage has been stored since the last look."""
        there = self.place.stored()
        self._vanished |= self.stored.keys() - there.keys()
        new = {name: at for name, at in there.items() if name not in self.stored}
        self.stored |= new
        for fault in list(self._open):
            later = [at for at in new.values() if at >= fault.struck]
            if later:
                fault.seconds = min(later) - fault.struck
                self._open.remove(fault)
        return bool(new)

    def _drop_misses(self) -> None:
        """Forget orders that no operation of the store obeyed: they were no faults."""
        hits = {line.split()[0] for line in _lines(self.orders / "hits")}
        self.faults = [f for f in self.faults if f.kind not in {*DISK, "clock step"} or str(f.number) in hits]
        self.verdict.faults = len(self.faults)

    def _finish(self) -> None:
        """Run the same command until it finds nothing to do: damage at rest is noticed by the next run."""
        self.drivers.wait_for_the_ended()
        for _ in range(4):
            self.field.arena.mend()
            left = max(0.0, min(600.0, self.limit - time.monotonic()))
            try:
                code, output = finished(self.drivers.second(), timeout=left)
            except subprocess.TimeoutExpired:
                self.verdict.unfinished = time.monotonic() >= self.limit
                break
            last = output.strip().splitlines()[-1:] or [""]
            if code == 0 and json.loads(last[0])["ran"] == 0:
                return
            if code:
                self.drivers.lines.append(f"{code}: {last[0][:300]}")
        self.verdict.stuck = not self.verdict.unfinished

    # -- the verdict -----------------------------------------------------------------------------------------

    def _judge(self, reference: list[bytes]) -> None:
        self._look()
        verdict, damaged = self.verdict, self.field.damaged
        verdict.same_table = rows_of(self.plan, Store(self.place.url, writes=False)) == (reference, ())
        verdict.lost = sorted(self._vanished - damaged)
        began = [(line.split()[0], float(line.split()[-1])) for line in _lines(self.orders / "journal")]
        verdict.twice = sorted(
            f"{key} begun {at - self.stored[key]:.2f} s after it was stored"
            for key, at in began if key in self.stored and at > self.stored[key] and key not in damaged
        )  # fmt: skip
        verdict.lines = dict(Counter(self.drivers.lines))
        verdict.unforeseen = [line for line in verdict.lines if _unforeseen(line)]
        verdict.starts = self.drivers.starts
        until = time.monotonic() + LEAK_SECONDS
        while (left := self._left()) and time.monotonic() < until:
            time.sleep(0.5)
        verdict.leaked = left

    def _left(self) -> list[str]:
        workers = with_role("worker", self.field.arena.pids())
        return [*self.drivers.left(), *(f"worker {pid}" for pid in workers), *self.place.left()]


def _unforeseen(line: str) -> bool:
    """Whether a driver's end is not one that the command line reports in a line of its own."""
    code, _, text = line.partition(": ")
    if code in _STRUCK or code in {"130", "143"} or text.startswith("{"):
        return False  # a signal of ours, or a run that ended in order
    return not any(name in text for name in FORESEEN)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def record(path: Path, *entries: dict[str, Any]) -> None:
    """Append entries to a file of JSON lines, by one operation: several campaigns may write to it."""
    with path.open("ab", buffering=0) as handle:
        handle.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())


def recorded(path: Path) -> list[dict[str, Any]]:
    """Read what ``record`` has written."""
    return [json.loads(line) for line in _lines(path)]


def entries(faults: list[Fault], verdict: Verdict) -> list[dict[str, Any]]:
    """Return the entries of a pass; the faults of one that was not finished do not count."""
    if verdict.unfinished:
        return [{"type": "unfinished", "name": verdict.name, "faults": verdict.faults}]
    return [{"type": "fault", "run": verdict.name, **asdict(f)} for f in faults] + [
        {"type": "pass", "good": verdict.good, **asdict(verdict)}
    ]


def clear(folder: Path, *, orders: Path) -> Path:
    """Make a folder without a store, and forget orders and what they did; workers of a cluster know one such folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "orders").symlink_to(orders)
    for path in orders.iterdir():
        path.unlink()
    return folder
