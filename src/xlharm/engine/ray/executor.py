"""The executor on Ray: starts workers, replaces lost ones, sends them packs and returns their replies."""

import contextlib
import logging
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import ray
from ray.exceptions import RayError

from xlharm.engine.executor import RUNNER, WorkerReply
from xlharm.engine.options import RunOptions, worker_config
from xlharm.engine.placement import WorkerShape, worker_shape
from xlharm.engine.policy import memory_delay
from xlharm.engine.ray.cluster import Cluster, connected, joined_again, wanted_address
from xlharm.engine.ray.gang import Gang, create
from xlharm.engine.ray.health import LONGEST_SILENCE, ClusterWatch, WorkerWatch
from xlharm.engine.ray.holders import holders, remove_abandoned
from xlharm.engine.ray.warm import WarmPool, fingerprint
from xlharm.engine.trouble import EngineError, Trouble, one_line
from xlharm.errors import UserError
from xlharm.parallel import user_threads
from xlharm.plan.build import Plan
from xlharm.plan.packs import packs
from xlharm.plan.sharding import zero_stage
from xlharm.plan.stage import PLACES, Place
from xlharm.stages.job import PackJob, Progress
from xlharm.store.store import Store

logger = logging.getLogger(__name__)

GROW_SECONDS = 5.0  # between checks whether the cluster has become larger
IDLE_SECONDS = 60.0  # a worker that has been idle for so long is ended
PATIENCE = 20.0  # seconds that a worker waits for resources before the user sees a message
_NOTE_EVERY = 600.0  # seconds between two such messages
_ABANDONED_SECONDS = 10.0  # between two looks for resources of drivers that have ended, while a worker waits for some
_RESTART_DELAY = 2.0  # seconds before a worker that failed to start is started again
_TOO_SMALL_DELAY = 300.0  # the same, when the base did not fit the worker's device
_USABLE = 0.94  # share of a device's memory for packs; the GPU driver and fragmentation take the rest
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One worker asks all endpoints, so that a limit on requests holds for the whole run. It loads no base.
_ENDPOINT_SHAPE = WorkerShape(workers=1, ranks=1, cpus=0, gpus=0, threads=1, device="cpu")


def start(plan: Plan, store: Store, options: RunOptions, *, runner: str = RUNNER) -> "RayExecutor":
    """Connect to Ray and start workers.

    Args:
        plan: the plan to run.
        store: where results go.
        options: how to run.
        runner: the runner's class, as ``module:name``.

    Raises:
        UserError: there is no such cluster or device, or options exclude each other.
        EngineError: a local Ray does not start, or the cluster ends meanwhile.
    """
    _check(options)
    processes = (options.workers or 1) * options.ranks
    stack = contextlib.ExitStack()

    def connect() -> Cluster:
        stack.close()
        cluster = stack.enter_context(connected(options.address, cpus=processes, device=options.device))
        return replace(cluster, labels=options.labels)

    try:
        executor = RayExecutor(plan, store, options, cluster=connect(), runner=runner)
    except RayError as error:
        stack.close()
        raise EngineError(f"the Ray cluster ended while the run began ({one_line(error)[:200]})") from None
    except BaseException:
        stack.close()
        raise
    executor.connect, executor.on_close = connect, stack.close
    return executor


def _check(options: RunOptions) -> None:
    if options.keep_warm and options.ranks > 1:
        raise UserError("--keep-warm: works with single-process workers only (--ranks 1)")
    if options.labels and wanted_address(options.address) is None:
        raise UserError("--label: selects machines of a cluster: give its --address")
    zero = zero_stage(options.zero, ranks=options.ranks, offload=options.offload)
    if zero and options.ranks == 1 and options.offload is None:
        raise UserError(f"--zero {zero}: needs several processes per worker (--ranks N), or --offload")


class RayExecutor:
    """An ``Executor`` on Ray actors."""

    def __init__(self, plan: Plan, store: Store, options: RunOptions, *, cluster: Cluster, runner: str) -> None:
        self._options = options
        self._cluster = cluster
        self._runner = runner
        self._pack_count = len(packs(plan, size=options.pack, workers=options.spread))
        self._shape = self._choose()
        self._config = worker_config(plan, store, options, device=self._shape.device, threads=self._shape.threads)
        self._warm_pool = WarmPool(kind=fingerprint(self._config, self._shape)) if not cluster.local else None
        self._gangs: dict[str, Gang] = {}
        self._evictions: Counter[str] = Counter()  # how often in a row a full machine has ended a worker, by name
        self._restart_times: dict[str, float] = {}  # when a name may be used again, by time.monotonic
        self._last_grow = time.monotonic()
        self._stopping = False
        self._max_workers: dict[Place, int] = {"device": self._shape.workers, "endpoint": _ENDPOINT_SHAPE.workers}
        self._demand: Mapping[Place, int] = {}
        self._last_note = self._last_look = -math.inf
        self._cluster_watch, self._worker_watch = ClusterWatch(), WorkerWatch()
        self.connect: Callable[[], Cluster] = lambda: cluster
        self.on_close: Callable[[], None] = lambda: None
        if self._warm_pool is not None and options.ranks == 1:
            self._warm_pool.adopt_idle()
            for name in _names("device", min(len(self._warm_pool.free), self._shape.workers)):
                self._spawn(name, "device")
            self._warm_pool.end_spare()

    def _choose(self) -> WorkerShape:
        options = self._options
        gpus = self._cluster.gpus()
        if options.device == "cuda" and options.workers is not None and not self._cluster.local:
            # An autoscaler starts machines on request, so the GPUs of the present machines are no limit.
            gpus = max(gpus, options.workers * options.ranks)
        shape = worker_shape(
            self._cluster.cpus(),
            gpus,
            device=options.device,
            workers=options.workers,
            ranks=options.ranks,
            most=self._pack_count,
            share=options.gpus_per_worker,
            threads=user_threads(),
        )
        return replace(shape, labels=tuple(options.labels.items()))

    def _spawn(self, name: str, place: Place) -> None:
        self._restart_times.pop(name, None)
        config = self._config
        if place == "endpoint":
            gang = create(name, _ENDPOINT_SHAPE, place=place)
            config = replace(
                config, device="cpu", place=place, threads=_ENDPOINT_SHAPE.threads, zero=None, offload=None
            )
        elif self._warm_pool is not None and self._warm_pool.free:
            gang = Gang(name=name, actors=[self._warm_pool.free.pop()])
        else:
            warm_name = self._warm_pool.name() if self._warm_pool is not None and self._options.keep_warm else None
            gang = create(name, self._shape, warm_name=warm_name)
            if warm_name is not None and self._warm_pool is not None:
                self._warm_pool.adopt(gang)
        gang.setup(config, self._runner)
        self._gangs[name] = gang

    def _gangs_of(self, place: Place) -> list[Gang]:
        return [gang for gang in self._gangs.values() if gang.place == place]

    # -- the Executor protocol -------------------------------------------------------------------------------

    def size(self) -> int:
        """Return the number of workers that have loaded the base."""
        return sum(g.doing != "starting" for g in self._gangs_of("device"))

    def expect(self, packs: int) -> None:
        """Start the workers of a local cluster early: no other job can use its devices in the meantime."""
        if self._cluster.local:
            with self._cluster_watch.noticing():
                for name in _names("device", min(packs, self._shape.workers)):
                    self._spawn(name, "device")

    def want(self, packs: Mapping[Place, int]) -> None:
        """Set how many packs run or could start now, by place: more workers than that are not needed."""
        self._demand = packs

    def notes(self) -> Sequence[str]:
        """Return what is waited for: resources (at most every ten minutes), silent workers, a silent head."""
        now = time.monotonic()
        lines = [*self._cluster_watch.notes, *self._worker_watch.notes(self._gangs.values(), now=now)]
        self._cluster_watch.notes.clear()
        if not self._cluster_watch.silent:
            with self._cluster_watch.noticing():
                lines.extend(self._lacking(now))
        return lines

    def _lacking(self, now: float) -> Sequence[str]:
        waiting = self._waiting(PATIENCE, now=now)
        if not waiting or now - self._last_note < _NOTE_EVERY:
            return ()
        self._last_note = now
        resource: Literal["CPU", "GPU"] = "GPU" if self._shape.gpus else "CPU"
        each = self._shape.gpus or self._shape.cpus
        total = float(self._cluster.gpus() if self._shape.gpus else sum(self._cluster.cpus()))
        count = waiting * self._shape.ranks * each
        who = holders(resource, job=ray.get_runtime_context().get_job_id(), total=total)
        line = (
            f"waiting for {count:g} {resource}{'' if count == 1 else 's'}; the cluster has {total:g}: "
            f"the run goes on when they are free, or machines join (ray start --address){f'; {who}' if who else ''}"
        )
        logger.info(line)
        return (line,)

    def _waiting(self, seconds: float, *, now: float) -> int:
        """Return how many workers have waited for resources for so long."""
        return sum(not g.placed() and now - g.since >= seconds for g in self._gangs_of("device"))

    def _free_abandoned(self, now: float) -> None:
        """Free what drivers hold that have ended, when a worker waits for resources."""
        if now - self._last_look >= _ABANDONED_SECONDS and self._waiting(_ABANDONED_SECONDS, now=now):
            self._last_look = now
            if count := remove_abandoned():
                logger.info("removed %d placement groups of drivers that have ended", count)

    def held(self) -> float:
        """Return how many GPUs the workers hold now; without GPUs, the number of worker processes."""
        return sum(g.placed() for g in self._gangs_of("device")) * self._shape.ranks * (self._shape.gpus or 1)

    def idle(self, place: Place) -> Sequence[str]:
        """Return the names of the workers of a place that could take a pack now."""
        return [gang.name for gang in self._gangs_of(place) if gang.doing == "idle"]

    def rooms(self) -> Mapping[str, float]:
        """Return the bytes of device memory by worker; infinite for a worker that is still starting."""
        rooms = {}
        for gang in self._gangs_of("device"):
            if gang.room is not None:
                rooms[gang.name] = gang.room * self._shape.gpus * _USABLE
            elif gang.doing == "starting" and self._shape.gpus and gang.placed():
                rooms[gang.name] = math.inf
        return rooms

    def submit(self, job: PackJob, *, worker: str) -> None:
        """Hand a pack to an idle worker."""
        with self._cluster_watch.noticing():
            self._gangs[worker].run(job)

    def wait(self, *, timeout: float) -> Sequence[WorkerReply]:
        """Return the workers' new replies; wait at most ``timeout`` seconds for the first."""
        with self._cluster_watch.noticing():
            return self._replies(timeout)
        time.sleep(timeout)
        return ()

    def _replies(self, timeout: float) -> Sequence[WorkerReply]:
        now = time.monotonic()
        if self._cluster_watch.has_ended(self._cluster, now=now):
            return self._restart()
        if not self._stopping and not self._cluster_watch.silent:
            self._grow()
            self._shrink()
            self._free_abandoned(now)
        if ended := self._end_silent(now):
            return ended
        calls = [call for gang in self._gangs.values() for call in gang.calls]
        if calls:
            ray.wait(calls, num_returns=1, timeout=timeout, fetch_local=False)
            ready = set(ray.wait(calls, num_returns=len(calls), timeout=0, fetch_local=False)[0])
        else:
            time.sleep(timeout)
            ready = set()
        replies = (self._reply(gang) for gang in list(self._gangs.values()) if gang.collect(ready))
        return [reply for reply in replies if reply is not None]

    def progress(self) -> Mapping[str, Progress]:
        """Return the last reported progress of the running packs, by pack."""
        running = [gang for gang in self._gangs.values() if gang.doing == "running"]
        return {gang.progress.pack: gang.progress for gang in running if gang.progress is not None}

    def stop(self) -> None:
        """Ask running packs to save their state and end; start no more workers."""
        self._stopping = True
        with self._cluster_watch.noticing():
            for gang in self._gangs.values():
                gang.stop()

    def close(self) -> None:
        """End every worker, or leave idle ones warm; then disconnect from the cluster."""
        try:
            with self._cluster_watch.noticing():
                for gang in self._gangs.values():
                    if self._warm_pool is not None and self._options.keep_warm and gang.doing == "idle":
                        self._warm_pool.release(gang)
                    else:
                        self._kill(gang)
            self._gangs.clear()
        finally:
            self.on_close()

    # -- starting and ending workers -------------------------------------------------------------------------

    def _restart(self) -> list[WorkerReply]:
        """Start our own cluster, or join another, again; return what the workers were doing."""
        trouble = Trouble(kind="node_died", message="Ray has ended on this machine", lost=True)
        replies = [
            WorkerReply(worker=gang.name, pack=gang.pack, trouble=trouble, lost=True)
            for gang in self._gangs.values()
            if gang.pack is not None
        ]
        self._gangs.clear()
        self._restart_times.clear()
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._cluster = joined_again(self.connect)
        if self._warm_pool is not None:
            self._warm_pool = WarmPool(kind=fingerprint(self._config, self._shape))
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # starting Ray may have replaced them
                signal.signal(number, handler)
        return replies

    def _end_silent(self, now: float) -> list[WorkerReply]:
        """End workers that have not answered for too long; their packs run on others."""
        silent = []
        for gang in self._gangs.values():
            gang.listen(now=now)
            if gang.silence(now=now) >= LONGEST_SILENCE:
                silent.append(gang)
        return [self._ended(gang) for gang in silent]

    def _ended(self, gang: Gang) -> WorkerReply:
        minutes = LONGEST_SILENCE / 60
        trouble = Trouble(kind="node_died", message=f"{gang.name} did not answer for {minutes:.0f} min", lost=True)
        pack = gang.pack
        self._kill(gang)
        del self._gangs[gang.name]
        return WorkerReply(worker=gang.name, pack=pack, trouble=trouble, lost=True)

    def _kill(self, gang: Gang) -> None:
        if not self._cluster_watch.silent:  # the head would have to do it; without one, workers end with the driver
            gang.kill()

    def _reply(self, gang: Gang) -> WorkerReply | None:
        """Return a worker's reply, None when it has only started; end a worker that can run no more packs."""
        starting, pack = gang.doing == "starting", gang.pack
        results, trouble, lost = gang.take_result()
        if trouble is None and not starting:
            self._cluster_watch.pack_ended()
        if starting and trouble is None:
            return None
        lost = lost or starting
        if lost:
            self._kill(gang)
            del self._gangs[gang.name]
            self._restart_times[gang.name] = time.monotonic() + self._restart_delay(gang.name, trouble, starting)
        return WorkerReply(worker=gang.name, pack=pack, results=results, trouble=trouble, lost=lost)

    def _restart_delay(self, name: str, trouble: Trouble | None, starting: bool) -> float:
        """Return the seconds before a worker is started again: 0 unless it failed to start, or its machine is full."""
        if trouble is not None and trouble.kind == "memory_taken":
            self._evictions[name] += 1
            return memory_delay(self._evictions[name])
        self._evictions.pop(name, None)
        if not starting or trouble is None:
            return 0.0
        return _TOO_SMALL_DELAY if trouble.kind == "out_of_memory" else _RESTART_DELAY

    def _grow(self) -> None:
        """Start workers for packs that run or could start, up to the number that fits the cluster."""
        now = time.monotonic()
        if not self._cluster.local and self._options.workers is None and now - self._last_grow >= GROW_SECONDS:
            self._last_grow = now
            self._max_workers["device"] = max(self._max_workers["device"], self._workers_with_room())
        for place, most in self._max_workers.items():
            lacking = self._demand.get(place, 0) - len(self._gangs_of(place))
            free = [n for n in _names(place, most) if n not in self._gangs and self._restart_times.get(n, now) <= now]
            for name in free[: max(lacking, 0)]:
                self._spawn(name, place)

    def _shrink(self) -> None:
        """End workers that have been idle for ``IDLE_SECONDS``, and withdraw requests that are no longer needed."""
        if self._options.keep_warm:
            return
        now = time.monotonic()
        for place in PLACES:
            spare = [g for g in self._gangs_of(place) if now - g.since >= IDLE_SECONDS]
            spare = [g for g in spare if g.doing == "idle" or not g.placed()]
            spare.sort(key=Gang.placed)  # unplaced requests first
            for gang in spare[: max(len(self._gangs_of(place)) - self._demand.get(place, 0), 0)]:
                gang.kill()
                del self._gangs[gang.name]

    def _workers_with_room(self) -> int:
        """Return how many workers fit the cluster now: it may have become larger or smaller."""
        with contextlib.suppress(UserError):
            return self._choose().workers
        return 0


def _names(place: Place, count: int) -> list[str]:
    return [f"{'worker' if place == 'device' else place}-{i}" for i in range(count)]
