"""The driver: sends packs to workers and handles their replies until no stage is left that can run."""

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
from xlharm.engine.executor import Executor, WorkerReply
from xlharm.engine.limits import Budget
from xlharm.engine.memory import MemoryNeeds
from xlharm.engine.policy import Abort, Decision, GiveUp, Policy, Recompute, Retry, Split
from xlharm.engine.progress import Meter, Snapshot
from xlharm.engine.scheduler import State
from xlharm.engine.trouble import EngineError, Trouble
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.packs import Pack
from xlharm.plan.stage import PLACES, Place
from xlharm.plan.targets import sizes_of
from xlharm.stages.job import PackJob, StageResult
from xlharm.store.checkpoint import Checkpoints
from xlharm.store.lease import Leases
from xlharm.store.record import Failure, Record
from xlharm.store.store import Store

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0  # first wait for a pack that another driver computes; the wait doubles each time
_LONGEST_POLL = 8  # longest such wait, in multiples of POLL_SECONDS
SNAPSHOT_SECONDS = 0.5
START_FAILURES = 3  # the run ends when so many workers in a row fail to start
STOP_SECONDS = 30.0  # time that running packs have to save their state after a stop
_VISIBLE_SECONDS = 15.0  # longest delay after which a network filesystem shows a new folder to other machines


@dataclass(kw_only=True)
class Driver:
    """Runs one plan on one executor.

    Attributes:
        plan: the plan to run.
        store: says which stages are finished.
        state: the scheduler's state.
        executor: runs packs on workers.
        leases: claims stages, so that no other driver of this store computes them at the same time.
        meter: measures progress.
        on_progress: called with a snapshot twice a second.
        budget: limits of time and GPU hours.
        policy: decides what to do about failures.
        ran: number of stages that this driver finished.
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
    memory: MemoryNeeds = field(init=False)
    _pack_rooms: dict[str, float] = field(default_factory=dict)  # device memory of each pack's worker, in bytes
    _resume_times: dict[str, float] = field(default_factory=dict)  # of deferred packs, by time.monotonic
    _polls: Counter[str] = field(default_factory=Counter)  # failed claims by pack
    _start_failures: int = 0
    _last_snapshot: float = 0.0
    _waiting_noted: bool = False

    def __post_init__(self) -> None:
        self.memory = MemoryNeeds(self.plan, sizes_of(self.plan.sources.base, self.plan.grid.lora.target_modules))

    def loop(self, *, stopped: Callable[[], bool]) -> None:
        """Run until nothing is left to run, ``stopped`` returns True, or the budget is used up.

        Packs that are running at that moment get ``STOP_SECONDS`` to save their state.

        Raises:
            UserError: the user must act before the run can continue (full disk, base that does not load, …).
            EngineError: workers do not start.
        """
        if self.budget.hours is None:  # under a limit of GPU hours, workers start only when they are needed
            self.executor.expect(self.state.width())
        while self.state.left and not stopped() and not self._used_up():
            self._resume()
            self._dispatch()
            self.executor.want({place: self._running(place) + self._startable(place) for place in PLACES})
            waiting = self.state.running or not self.executor.idle("device")
            self._handle_replies(SNAPSHOT_SECONDS if waiting else SNAPSHOT_SECONDS / 5)
        self._wind_down()
        self._show(last=True)

    def _handle_replies(self, seconds: float) -> None:
        replies = self.executor.wait(timeout=seconds)
        self.meter.note_workers(self.state, self.executor.size(), now=time.monotonic())
        for reply in replies:
            self._handle(reply)
        for line in self.executor.notes():
            self.meter.note(line)
        self.budget.tick(held=self.executor.held(), now=time.monotonic())
        self._show()

    def _used_up(self) -> bool:
        """Whether the budget is reached, or too small for every pack that could start."""
        if not self.budget.limited:
            return False
        work = self.state.running or self.state.deferred or any(map(self._startable, PLACES))
        return self.budget.reached() or not work

    def _running(self, place: Place) -> int:
        return sum(self.state.packs[pack].place == place for pack in self.state.running)

    def _startable(self, place: Place) -> int:
        """Return how many packs could start now."""
        if not self.budget.limited:
            return self.state.ready_count(place)
        return sum(map(self._fits, self.state.ready(place)))

    def _fits(self, pack: str) -> bool:
        return self.budget.fits(self.meter.pack_seconds(self.state, pack), kind=self.state.packs[pack].kind)

    def _wind_down(self) -> None:
        """Ask running packs to stop, and wait until they have saved their state."""
        if self.state.running:
            self.meter.note("stopping: running packs save their state, for at most 30 s (Ctrl-C again: stop at once)")
            self._show()
        self.executor.stop()
        deadline = time.monotonic() + STOP_SECONDS
        while self.state.running and time.monotonic() < deadline:
            self._handle_replies(SNAPSHOT_SECONDS / 5)

    def _show(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._last_snapshot >= SNAPSHOT_SECONDS:
            self._last_snapshot = now
            progress = self.executor.progress()
            self.on_progress(self.meter.snapshot(self.state, progress, workers=self.executor.size(), now=now))

    # -- packs out -------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        rooms = self.executor.rooms()
        for place in PLACES:
            for worker in self.executor.idle(place):
                while pack := self._next(worker, place=place, rooms=rooms):
                    if self._start(pack, worker=worker):
                        self._pack_rooms[pack] = rooms.get(worker, 0)
                        break

    def _next(self, worker: str, *, place: Place, rooms: Mapping[str, float]) -> str | None:
        alike = len(set(rooms.values())) <= 1
        if alike and not self.budget.limited:
            return next(iter(self.state.ready(place, worker=worker, limit=1)), None)
        room, largest = rooms.get(worker), max(rooms.values(), default=0)
        for pack in self.state.ready(place, worker=worker):
            # The largest device takes any pack: the estimate may be too high, and a pack that does not fit is split.
            holds = room is None or room >= largest or self.memory.bytes_needed(self.state.packs[pack]) <= room
            if holds and self._fits(pack):
                return pack
        return None

    def _start(self, pack: str, *, worker: str) -> bool:
        """Hand a pack to a worker; False when another driver computes its stages or has finished them."""
        if not self._claim(self.state.missing(pack)):
            self._polls[pack] += 1
            self._defer(pack, POLL_SECONDS * min(2 ** (self._polls[pack] - 1), _LONGEST_POLL))
            if not self._waiting_noted:
                self._waiting_noted = True
                self.meter.note("another driver of this store is computing some of the stages: waiting for it")
            return False
        self._read_store(pack)
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
                for claimed_key in claimed:
                    self.leases.release(claimed_key)
                return False
            claimed.append(key)
        return True

    def _read_store(self, pack: str) -> None:
        """Mark a pack's stages that the store has, and those that failed in another driver for good."""
        missing = {k: self.plan.stages[k] for k in self.state.missing(pack)}
        for key, stage in missing.items():
            if self.store.has(stage):
                self._finished(key, worker=None)
        if pack in self.state.deferred:
            for key, failure in self.store.failures(missing).items():
                if failure.final and key not in self.state.done:
                    self.state.advance(Failed(key=key))

    def _defer(self, pack: str, seconds: float) -> None:
        # The delay depends on the process id: two drivers that poll at the same moments would block each other.
        self._resume_times[pack] = time.monotonic() + seconds * (1 + os.getpid() % 7 / 20)
        self.state.advance(Deferred(pack=pack))

    def _resume(self) -> None:
        now = time.monotonic()
        for pack in [p for p, resume_time in self._resume_times.items() if resume_time <= now]:
            del self._resume_times[pack]
            self._read_store(pack)
            self.state.advance(Resumed(pack=pack))

    # -- replies in ------------------------------------------------------------------------------------------

    def _handle(self, reply: WorkerReply) -> None:
        if reply.pack is None:
            self._handle_start_failure(reply)
            return
        self._start_failures = 0
        pack = reply.pack
        if reply.lost:
            self.state.advance(WorkerLost(worker=reply.worker))
        for result in reply.results:
            self._handle_result(result, worker=reply.worker)
        self._record_memory(reply, self.state.packs[pack])
        self.meter.ended(
            self.state.packs[pack], tokens={r.key: r.tokens for r in reply.results}, whole=reply.trouble is None,
            now=time.monotonic(), prepared=max((r.prepared for r in reply.results), default=0.0),
        )  # fmt: skip
        self.state.advance(Ended(pack=pack))
        if reply.trouble is not None:
            before = len(self.state.done)
            self._read_store(pack)  # a worker commits stage by stage: some may be in the store already
            self.ran += len(self.state.done) - before
            self._release(pack)
            if self.state.missing(pack):
                self._handle_trouble(reply.trouble, pack=pack)

    def _record_memory(self, reply: WorkerReply, pack: Pack) -> None:
        """Record a pack's peak of device memory, or that it did not fit."""
        peak, room = max((r.peak for r in reply.results), default=0), self._pack_rooms.get(pack.id, 0)
        if peak:
            self.memory.record_peak(pack, peak)
        if room and reply.trouble is not None and reply.trouble.kind == "out_of_memory":
            self.memory.record_overflow(pack, int(room))

    def _larger_device_exists(self, pack: str) -> bool:
        """Whether some worker has more device memory than the one that ran the pack."""
        return max(self.executor.rooms().values(), default=0) > self._pack_rooms.get(pack, math.inf)

    def _handle_start_failure(self, reply: WorkerReply) -> None:
        trouble = reply.trouble
        if reply.lost:
            self.state.advance(WorkerLost(worker=reply.worker))
        if trouble is None or trouble.kind == "preempted":
            return
        if trouble.kind in {"user", "base", "disk_full", "corrupt"}:
            raise UserError(trouble.message)
        if trouble.kind in {"memory_taken", "node_died"}:
            self.meter.note(f"a worker did not start: {trouble.message}: trying again later")
            return
        if trouble.kind == "out_of_memory" and trouble.lost and not self.executor.size():
            raise UserError(f"{trouble.message}; use machines with more memory, or fewer --workers on each")
        if trouble.kind == "out_of_memory" and (trouble.lost or self.executor.rooms()):
            small = "machine" if trouble.lost else "device"
            self.meter.note(f"a worker is not used: its {small} is too small for the base ({trouble.message})")
            return
        if trouble.kind == "out_of_memory":
            raise UserError(
                f"the base does not fit a worker's device ({trouble.message}); partition it over several devices "
                "(--ranks N --zero 3) or keep it in the machine's memory (--offload params)"
            )
        self._start_failures += 1
        self.meter.note(f"a worker did not start: {trouble.message}")
        logger.debug("worker start: %s", trouble.detail)
        if self._start_failures >= START_FAILURES:
            raise EngineError(f"{self._start_failures} workers in a row did not start: {trouble.message}")

    def _handle_result(self, result: StageResult, *, worker: str) -> None:
        stage = self.plan.stages[result.key]
        for line in result.notes:
            self.meter.note(f"{stage.label}: {line}")
        if result.ok:
            if not self._becomes_visible(result.key):
                raise UserError(
                    f"--store {self.store.url}: a worker finished {stage.label!r}, but the driver does not see the "
                    "result; give a store that all machines share (a network folder, or a URL: s3://…)"
                )
            self.ran += result.key not in self.state.done
            self._finished(result.key, worker=worker)
            return
        self._failed(result.key, reason=result.reason, message=result.message, final=True)

    def _becomes_visible(self, key: str) -> bool:
        """Wait until the store shows a committed stage; False when it does not."""
        deadline = time.monotonic() + _VISIBLE_SECONDS
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

    def _handle_trouble(self, trouble: Trouble, *, pack: str) -> None:
        keys = self.state.packs[pack].keys
        if trouble.kind == "stopped":
            self.meter.note(f"{self._label(pack)}: {trouble.message}: the next run continues from there")
            return
        larger = self._larger_device_exists(pack)
        if trouble.kind == "base":  # no pack can run: one line, once
            raise UserError(trouble.message)
        decision = self.policy.decide(trouble, pack=pack, size=len(keys), larger_device=larger)
        later = f" in {decision.delay:.0f} s" if isinstance(decision, Retry) and decision.delay >= 1 else ""
        self.meter.note(f"{self._label(pack)}: {trouble.message}: {_DECISIONS[type(decision)]}{later}")
        if trouble.detail:
            with contextlib.suppress(OSError):  # the run can go on without this log
                self.store.write_text(f"logs/{pack}.txt", trouble.detail)
        self._carry_out(decision, trouble, pack=pack)

    def _carry_out(self, decision: Decision, trouble: Trouble, *, pack: str) -> None:
        match decision:
            case Retry(delay=delay):
                if delay:
                    self._defer(pack, delay)
            case Split():
                Checkpoints(self.store, pack).drop()  # its halves are other packs
                before = set(self.state.packs)
                self.state.advance(PackSplit(pack=pack))
                first, second = set(self.state.packs) - before
                self.policy.inherit(pack, (first, second))
            case Recompute(key=key):
                stage = self.plan.stages[key]
                self.store.quarantine(stage.kind, key)
                self.state.advance(Corrupted(key=key))
            case GiveUp(reason=reason):
                log = f"; log: logs/{pack}.txt in the store" if trouble.detail else ""
                for key in self.state.missing(pack):
                    self._failed(key, reason=reason, message=f"{trouble.message}{log}", final=False)
            case Abort():
                raise UserError(
                    f"--store {self.store.url}: {trouble.message}; make room, then run the same command again"
                )

    def _label(self, pack: str) -> str:
        keys = self.state.missing(pack) or self.state.packs[pack].keys
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        return f"{self.plan.stages[keys[0]].label}{more}"


_DECISIONS: dict[type[Decision], str] = {
    Retry: "trying again",
    Split: "trying again in smaller packs",
    Recompute: "computing its damaged parent again",
    GiveUp: "given up; the rest of the grid continues",
    Abort: "the run cannot continue",
}
