"""The driver: events from workers in, packs out, until nothing is left that can run."""

import contextlib
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xlharm.engine.events import (
    Corrupted,
    Deferred,
    Dispatched,
    Ended,
    Failed,
    Finished,
    PackSplit,
    Resumed,
    WorkerLost,
)
from xlharm.engine.executor import Executor, Reply
from xlharm.engine.limits import Budget
from xlharm.engine.memory import Memory
from xlharm.engine.policy import Abort, Decision, GiveUp, Policy, Recompute, Retry, Split
from xlharm.engine.progress import Meter, Snapshot
from xlharm.engine.scheduler import State
from xlharm.engine.trouble import EngineError, Trouble
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.memory import Anatomy
from xlharm.plan.packs import Pack
from xlharm.plan.stage import PLACES, Place
from xlharm.stages.job import PackJob, StageResult
from xlharm.store.lease import Leases
from xlharm.store.record import Failure, Record
from xlharm.store.store import Store

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0  # before the second look at what another driver is doing; then twice as long, and so on
_LONGEST_POLL = 8  # times that
SNAPSHOT_SECONDS = 0.5
START_FAILURES = 3  # workers in a row that do not start, before the run gives up
STOP_SECONDS = 30.0  # in which packs that are asked to stop may save their state
_SETTLE_SECONDS = 15.0  # network filesystems show a new folder to other machines with this delay at most


@dataclass(kw_only=True)
class Driver:
    """Runs one plan on one executor.

    Attributes:
        plan: what to run.
        store: the truth about what is finished.
        state: the scheduler's state.
        executor: runs packs.
        leases: keeps other drivers off our stages.
        meter: progress.
        on_progress: called with a snapshot twice a second.
        budget: how long it may go on.
        policy: what to do about failures.
        ran: stages this driver finished.
    """

    plan: Plan
    store: Store
    state: State
    executor: Executor
    leases: Leases
    meter: Meter
    on_progress: Callable[[Snapshot], None]
    budget: Budget = field(default_factory=Budget)
    policy: Policy = field(default_factory=Policy)
    ran: int = 0
    memory: Memory = field(init=False)
    _rooms: dict[str, float] = field(default_factory=dict)  # of the workers that running packs were given to
    _wake: dict[str, float] = field(default_factory=dict)
    _looks: Counter[str] = field(default_factory=Counter)
    _start_failures: int = 0
    _shown: float = 0.0
    _told_to_wait: bool = False

    def __post_init__(self) -> None:
        self.memory = Memory(self.plan, Anatomy.of(self.plan.sources.base))

    def loop(self, *, stopped: Callable[[], bool]) -> None:
        """Run until nothing is left, ``stopped``, or the budget is used up; packs that run then may save their state.

        Raises:
            UserError: the run cannot go on as it is (full disk, base that does not load, …).
            EngineError: workers do not start.
        """
        if self.budget.hours is None:  # workers that wait are paid for
            self.executor.expect(self.state.width())
        while self.state.left and not stopped() and not self._used_up():
            self._resume()
            self._dispatch()
            self.executor.want({place: self._running(place) + self._startable(place) for place in PLACES})
            waiting = self.state.running or not self.executor.idle("device")
            self._listen(SNAPSHOT_SECONDS if waiting else SNAPSHOT_SECONDS / 5)
        self._wind_down()
        self._show(last=True)

    def _listen(self, seconds: float) -> None:
        for reply in self.executor.wait(timeout=seconds):
            self._handle(reply)
        for line in self.executor.notes():
            self.meter.note(line)
        self.budget.tick(held=self.executor.held(), now=time.monotonic())
        self._show()

    def _used_up(self) -> bool:
        """Whether the time is up, or too short for all that could begin."""
        if not self.budget.limited:
            return False
        waits = self.state.running or self.state.deferred or any(map(self._startable, PLACES))
        return self.budget.reached() or not waits

    def _running(self, place: Place) -> int:
        return sum(self.state.packs[pack].place == place for pack in self.state.running)

    def _startable(self, place: Place) -> int:
        """Return how many packs could begin now."""
        if not self.budget.limited:
            return self.state.ready_count(place)
        return sum(map(self._fits, self.state.ready(place)))

    def _fits(self, pack: str) -> bool:
        return self.budget.fits(self.meter.pack_seconds(self.state, pack), kind=self.state.packs[pack].kind)

    def _wind_down(self) -> None:
        """Let what runs save its state."""
        if self.state.running:
            self.meter.note("stopping: what runs may save its state, half a minute at most (Ctrl-C again: at once)")
            self._show()
        self.executor.stop()
        deadline = time.monotonic() + STOP_SECONDS
        while self.state.running and time.monotonic() < deadline:
            self._listen(SNAPSHOT_SECONDS / 5)

    def _show(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._shown >= SNAPSHOT_SECONDS:
            self._shown = now
            progress = self.executor.progress()
            self.on_progress(self.meter.snapshot(self.state, progress, workers=self.executor.size(), now=now))

    # -- packs out -------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        rooms = self.executor.rooms()
        for place in PLACES:
            for worker in self.executor.idle(place):
                while pack := self._next(worker, place=place, rooms=rooms):
                    if self._try(pack, worker=worker):
                        self._rooms[pack] = rooms.get(worker, 0)
                        break

    def _next(self, worker: str, *, place: Place, rooms: Mapping[str, float]) -> str | None:
        alike = len(set(rooms.values())) <= 1
        if alike and not self.budget.limited:
            return next(iter(self.state.ready(place, worker=worker, limit=1)), None)
        room, most = rooms.get(worker), max(rooms.values(), default=0)
        for pack in self.state.ready(place, worker=worker):
            # the largest device takes whatever comes: an estimate may be wrong, and then the pack is split
            takes = room is None or room >= most or self.memory.need(self.state.packs[pack]) <= room
            if takes and self._fits(pack):
                return pack
        return None

    def _try(self, pack: str, *, worker: str) -> bool:
        """Hand a pack to a worker unless another driver is at it or has finished it."""
        if not self._claim(self.state.missing(pack)):
            self._looks[pack] += 1
            self._defer(pack, POLL_SECONDS * min(2 ** (self._looks[pack] - 1), _LONGEST_POLL))
            if not self._told_to_wait:
                self._told_to_wait = True
                self.meter.note("some stages are being computed by another driver of this store: waiting for those")
            return False
        self._absorb(pack)
        active = set(self.state.missing(pack))
        whole = self.state.packs[pack]
        job = PackJob(
            id=pack,
            kind=whole.kind,
            stages=tuple(self.plan.stages[k] for k in whole.keys),
            active=tuple(k in active for k in whole.keys),
        )
        if not active:
            return False
        self.executor.submit(job, worker=worker)
        self.state.advance(Dispatched(pack=pack, worker=worker))
        self.meter.started(pack, now=time.monotonic())
        return True

    def _claim(self, keys: Sequence[str]) -> bool:
        claimed: list[str] = []
        for key in keys:
            if not self.leases.claim(key):
                for mine in claimed:
                    self.leases.release(mine)
                return False
            claimed.append(key)
        return True

    def _absorb(self, pack: str) -> None:
        """Take over what another driver did about a pack's stages."""
        missing = {k: self.plan.stages[k] for k in self.state.missing(pack)}
        for key, stage in missing.items():
            if self.store.has(stage):
                self._finished(key, worker=None)
        if pack in self.state.deferred:
            for key, failure in self.store.failures(missing).items():
                if failure.final and key not in self.state.done:
                    self.state.advance(Failed(key=key))

    def _defer(self, pack: str, seconds: float) -> None:
        # drivers that wait for each other must not look at the same moment for ever
        self._wake[pack] = time.monotonic() + seconds * (1 + os.getpid() % 7 / 20)
        self.state.advance(Deferred(pack=pack))

    def _resume(self) -> None:
        now = time.monotonic()
        for pack in [p for p, at in self._wake.items() if at <= now]:
            del self._wake[pack]
            self._absorb(pack)
            self.state.advance(Resumed(pack=pack))

    # -- replies in ------------------------------------------------------------------------------------------

    def _handle(self, reply: Reply) -> None:
        if reply.pack is None:
            self._not_started(reply)
            return
        self._start_failures = 0
        pack = reply.pack
        if reply.lost:
            self.state.advance(WorkerLost(worker=reply.worker))
        for result in reply.results:
            self._result(result, worker=reply.worker)
        self._learn(reply, self.state.packs[pack])
        self.meter.ended(
            pack,
            kind=self.state.packs[pack].kind,
            tokens=[r.tokens for r in reply.results],
            whole=reply.trouble is None,
            now=time.monotonic(),
        )
        self.state.advance(Ended(pack=pack))
        if reply.trouble is not None:
            before = len(self.state.done)
            self._absorb(pack)  # a worker commits stage by stage: some may be in the store already
            self.ran += len(self.state.done) - before
            self._release(pack)
            if self.state.missing(pack):
                self._trouble(reply.trouble, pack=pack)

    def _learn(self, reply: Reply, pack: Pack) -> None:
        """Remember what a pack took of its device's memory, or that it did not fit."""
        peak, room = max((r.peak for r in reply.results), default=0), self._rooms.get(pack.id, 0)
        if peak:
            self.memory.took(pack, peak)
        if room and reply.trouble is not None and reply.trouble.kind == "out_of_memory":
            self.memory.outgrew(pack, int(room))

    def _roomier(self, pack: str) -> bool:
        """Whether a worker has more room than the one that the pack was given to."""
        return max(self.executor.rooms().values(), default=0) > self._rooms.get(pack, math.inf)

    def _not_started(self, reply: Reply) -> None:
        trouble = reply.trouble
        if reply.lost:
            self.state.advance(WorkerLost(worker=reply.worker))
        if trouble is None or trouble.kind == "preempted":
            return
        if trouble.kind in {"user", "disk_full", "corrupt"}:
            raise UserError(trouble.message)
        if trouble.kind == "out_of_memory" and self.executor.rooms():
            self.meter.note(f"a worker is not used: its device is too small for the base ({trouble.message})")
            return
        if trouble.kind == "out_of_memory":
            raise UserError(
                f"the base does not fit a worker's device ({trouble.message}); spread it, --ranks N --zero 3, "
                "or keep it in the machine's memory: --offload params"
            )
        self._start_failures += 1
        self.meter.note(f"a worker did not start: {trouble.message}")
        logger.debug("worker start: %s", trouble.detail)
        if self._start_failures >= START_FAILURES:
            raise EngineError(f"{self._start_failures} workers in a row did not start: {trouble.message}")

    def _result(self, result: StageResult, *, worker: str) -> None:
        stage = self.plan.stages[result.key]
        if result.ok:
            if not self._settled(result.key):
                raise UserError(
                    f"--store {self.store.url}: a worker finished {stage.label!r}, but it is not there for "
                    "the driver; give a store that all machines share (a network folder, or a URL: s3://…)"
                )
            self.ran += result.key not in self.state.done
            self._finished(result.key, worker=worker)
            return
        self._failed(result.key, reason=result.reason, message=result.message, final=True)

    def _settled(self, key: str) -> bool:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not self.store.has(self.plan.stages[key]):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _finished(self, key: str, *, worker: str | None) -> None:
        self.state.advance(Finished(key=key, worker=worker))
        self.leases.release(key)

    def _failed(self, key: str, *, reason: str, message: str, final: bool) -> None:
        stage = self.plan.stages[key]
        self.store.write_failure(
            Failure(
                key=key, kind=stage.kind, label=stage.label, reason=reason, message=message, final=final,
                failed=Record.now(),
            )
        )  # fmt: skip
        self.state.advance(Failed(key=key))
        self.leases.release(key)
        self.meter.note(f"{stage.label}: {reason}: {message}")

    def _release(self, pack: str) -> None:
        for key in self.state.packs[pack].keys:
            self.leases.release(key)

    # -- trouble ---------------------------------------------------------------------------------------------

    def _trouble(self, trouble: Trouble, *, pack: str) -> None:
        keys = self.state.packs[pack].keys
        if trouble.kind == "stopped":
            self.meter.note(f"{self._name(pack)}: {trouble.message}: goes on from there next time")
            return
        decision = self.policy.decide(trouble, pack=pack, size=len(keys), roomier=self._roomier(pack))
        self.meter.note(f"{self._name(pack)}: {trouble.message}: {_TOLD[type(decision)]}")
        if trouble.detail:
            with contextlib.suppress(OSError):  # the log is a help, not a result
                self.store.write_text(f"logs/{pack}.txt", trouble.detail)
        self._carry_out(decision, trouble, pack=pack)

    def _carry_out(self, decision: Decision, trouble: Trouble, *, pack: str) -> None:
        match decision:
            case Retry(delay=delay):
                if delay:
                    self._defer(pack, delay)
            case Split():
                before = set(self.state.packs)
                self.state.advance(PackSplit(pack=pack))
                first, second = set(self.state.packs) - before
                self.policy.inherit(pack, (first, second))
            case Recompute(key=key):
                stage = self.plan.stages[key]
                self.store.quarantine(stage.kind, key)
                self.state.advance(Corrupted(key=key))
            case GiveUp(reason=reason):
                for key in self.state.missing(pack):
                    self._failed(key, reason=reason, message=trouble.message, final=False)
            case Abort():
                raise UserError(f"--store {self.store.url}: {trouble.message}; make room, then run it again")

    def _name(self, pack: str) -> str:
        keys = self.state.missing(pack) or self.state.packs[pack].keys
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        return f"{self.plan.stages[keys[0]].label}{more}"


_TOLD: dict[type[Decision], str] = {
    Retry: "again",
    Split: "again in smaller packs",
    Recompute: "its parent is damaged and is computed again",
    GiveUp: "given up, the rest goes on",
    Abort: "cannot go on",
}
