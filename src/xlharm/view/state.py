"""What a store shows of a grid right now: a map of its cells by query language, runs, failures, time to go."""

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

from xlharm.engine.choices import FULL_PACK
from xlharm.engine.estimates import clocks_of, corrected, expected_seconds
from xlharm.engine.live import LiveRun, live_runs
from xlharm.errors import CorruptArtifactError, StoreError, UserError
from xlharm.parallel import side_by_side
from xlharm.plan.build import Plan
from xlharm.plan.stage import KINDS, Kind
from xlharm.store.lease import Leases
from xlharm.store.record import Failure
from xlharm.store.store import Store

Square = Literal["done", "running", "failed", "blocked", "waiting", "damaged"]
"""What has become of one cell in one query language; ``blocked``: a stage before it has failed."""
Origin = Literal["runs", "estimate", "none"]
_AT_A_TIME = 200  # records that are read before the clock is looked at
_READING_SECONDS = 0.5  # for new records, in one look


@dataclass(frozen=True)
class Numbers:
    """OF and QR of one evaluation, in percent; None without questions."""

    of: float | None
    qr: float | None


@dataclass(frozen=True, kw_only=True)
class Look:
    """A grid at one moment.

    Attributes:
        squares: for each cell of the plan, in its order, the state in each query language.
        numbers: rates of the evaluations whose records have been read, by key.
        path: for each cell, the state of each stage from the base to its model.
        counts: for each kind of stage, how many are done, running, failed, and left.
        runs: the runs of this grid that go on.
        failures: why stages have no result, by key.
        eta: seconds to the end; None where it cannot be said.
        origin: where ``eta`` comes from: the runs, or an estimate for one worker.
        complete: cells with all their results.
        trouble: why the store could not be read; "" if it could.
    """

    squares: tuple[tuple[Square, ...], ...]
    numbers: Mapping[str, Numbers]
    path: tuple[tuple[Square, ...], ...]
    counts: dict[Kind, dict[str, int]]
    runs: tuple[LiveRun, ...]
    failures: dict[str, Failure]
    eta: float | None
    origin: Origin
    complete: int
    trouble: str = ""

    @property
    def done(self) -> int:
        """Number of finished stages."""
        return sum(one["done"] for one in self.counts.values())

    @property
    def total(self) -> int:
        """Number of stages."""
        return sum(sum(one.values()) for one in self.counts.values())

    @property
    def finished(self) -> bool:
        """Whether every stage has its result."""
        return self.done == self.total


@dataclass
class Watch:
    """Looks at a grid in a store again and again; what is known is not read twice. It writes nothing.

    Attributes:
        plan: the grid.
        store: where its results are.
    """

    plan: Plan
    store: Store
    _numbers: dict[str, Numbers] = field(default_factory=dict)
    _damaged: set[str] = field(default_factory=set)
    _seconds: Mapping[str, float] | None = None
    _start: float = 0.0

    def look(self, *, numbers: bool = True) -> Look:
        """Return what the store shows now.

        Args:
            numbers: whether to read the records of new evaluations, as many as half a second allows.

        Raises:
            StoreError: the store cannot be read.
        """
        stages = self.plan.stages
        done = self.store.done(stages)
        failures = self.store.failures({key: stage for key, stage in stages.items() if key not in done})
        held = Leases(self.store).running()
        if numbers:
            self._read_numbers(done)
        states = _states(self.plan, done=done, failed=failures.keys(), held=held, damaged=self._damaged)
        runs = tuple(run for run in live_runs(self.store) if self._is_ours(run))
        eta, origin = self._eta(done=done, runs=runs, dead=[k for k, s in states.items() if s in {"failed", "blocked"}])
        return Look(
            squares=tuple(tuple(states[key] for key in cell.evaluations.values()) for cell in self.plan.cells),
            numbers={key: self._numbers[key] for key in self._numbers.keys() & done},
            path=tuple(tuple(states[key] for key in cell.lineage) for cell in self.plan.cells),
            counts={kind: _counts(self.plan, states, kind) for kind in KINDS if self.plan.naive[kind]},
            runs=runs,
            failures=failures,
            eta=eta,
            origin=origin,
            complete=sum(all(states[key] == "done" for key in cell.leaves) for cell in self.plan.cells),
        )

    def _is_ours(self, run: LiveRun) -> bool:
        if run.grid == self.plan.grid.name:
            return True
        return any(key in self._short for pack in run.packs for key in pack.keys)

    @cached_property
    def _short(self) -> set[str]:
        return {key[:16] for key in self.plan.stages}

    def _read_numbers(self, done: set[str]) -> None:
        """Read records of evaluations, until time is up; what a record says is checked by its digest."""
        wanted = (key for cell in self.plan.cells for key in cell.evaluations.values())
        known = self._numbers.keys() | self._damaged
        left = list(dict.fromkeys(key for key in wanted if key in done and key not in known))
        until = time.monotonic() + _READING_SECONDS
        while left and time.monotonic() < until:
            some, left = left[:_AT_A_TIME], left[_AT_A_TIME:]
            for key, found in zip(some, side_by_side([partial(self._read, key) for key in some]), strict=True):
                if found is None:
                    self._damaged.add(key)
                else:
                    self._numbers[key] = found

    def _read(self, key: str) -> Numbers | None:
        try:
            metrics = self.store.record("evaluate", key).metrics
            return Numbers(*(_rate(metrics[name]) for name in ("of", "qr")))
        except (CorruptArtifactError, KeyError, TypeError):
            return None

    # -- time to go ------------------------------------------------------------------------------------------

    def _eta(self, *, done: set[str], runs: tuple[LiveRun, ...], dead: list[str]) -> tuple[float | None, Origin]:
        """Return the seconds to the end: as the runs say, each of which counts all that is left; or an estimate."""
        said = [run.eta for run in runs if run.eta is not None]
        if said:
            return (0.0 if 0 in said else 1 / sum(1 / eta for eta in said)), "runs"
        left = self.plan.stages.keys() - done - set(dead)
        if not left:
            return 0.0, "estimate"
        seconds = self._expected()
        if not seconds:
            return None, "none"
        return self._start + sum(seconds[key] for key in left), "estimate"

    def _expected(self) -> Mapping[str, float]:
        """Return the expected seconds of each stage, computed once; empty where the base says too little."""
        if self._seconds is None:
            self._seconds = {}
            with contextlib.suppress(UserError, StoreError):
                clock, _, device = corrected(clocks_of(self.plan), self.plan, self.store)
                self._seconds = expected_seconds(self.plan, clock, pack=FULL_PACK[device])
                self._start = clock.start
        return self._seconds


def _states(
    plan: Plan, *, done: set[str], failed: Collection[str], held: set[str], damaged: set[str]
) -> dict[str, Square]:
    states: dict[str, Square] = {}
    for key, stage in plan.stages.items():  # parents come first
        if key in done:
            states[key] = "damaged" if key in damaged else "done"
        elif key[:16] in held:
            states[key] = "running"
        elif key in failed:
            states[key] = "failed"
        else:
            stuck = any(states.get(parent) in {"failed", "blocked"} for parent in stage.inputs)
            states[key] = "blocked" if stuck else "waiting"
    return states


def _counts(plan: Plan, states: Mapping[str, Square], kind: Kind) -> dict[str, int]:
    mine = [states[key] for key, stage in plan.stages.items() if stage.kind == kind]
    counts = {"done": mine.count("done"), "running": mine.count("running"), "failed": mine.count("failed")}
    return {**counts, "left": len(mine) - sum(counts.values())}


def _rate(measure: dict[str, int]) -> float | None:
    return 100 * measure["hits"] / measure["n"] if measure["n"] else None
