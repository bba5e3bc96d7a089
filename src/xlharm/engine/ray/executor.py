"""Packs on Ray: starts workers, replaces lost ones, carries packs to them and answers back."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import ray

from xlharm.engine.executor import RUNNER, Reply
from xlharm.engine.options import RunOptions, worker_config
from xlharm.engine.placement import Shape, shape_of
from xlharm.engine.ray.cluster import Cluster, connected, wanted_address
from xlharm.engine.ray.gang import Gang, create
from xlharm.engine.ray.warm import Warm, fingerprint
from xlharm.engine.trouble import Trouble
from xlharm.errors import UserError
from xlharm.parallel import user_threads
from xlharm.plan.build import Plan
from xlharm.plan.packs import packs
from xlharm.plan.sharding import zero_stage
from xlharm.plan.stage import PLACES, Place
from xlharm.stages.job import PackJob, Progress
from xlharm.store.store import Store

logger = logging.getLogger(__name__)

GROW_SECONDS = 5.0  # between looks at whether the cluster has more room
IDLE_SECONDS = 60.0  # a worker without anything to do for so long gives its place back
PATIENCE = 20.0  # seconds without room for a worker, before people are told
_TELL_EVERY = 600.0  # seconds between two such lines
_RESTART_DELAY = 2.0  # seconds before a worker that did not start is tried again
_TOO_SMALL_DELAY = 300.0  # the same, where the base did not fit its device
_USABLE = 0.94  # of a device's memory: the rest is the driver's and what lies between allocations
# One worker asks all endpoints: a limit of requests holds for the whole run. It needs no base and next to no CPU.
_ASKING = Shape(workers=1, ranks=1, cpus=0, gpus=0, threads=1, device="cpu")


def start(plan: Plan, store: Store, options: RunOptions, *, runner: str = RUNNER) -> "RayExecutor":
    """Connect to Ray and start workers.

    Args:
        plan: what will run.
        store: where results go.
        options: how to run.
        runner: dotted path of the runner's class.

    Raises:
        UserError: no such cluster, no such device, options that exclude each other.
    """
    _check(options)
    wanted = (options.workers or 1) * options.ranks
    stack = contextlib.ExitStack()
    with stack:
        cluster = stack.enter_context(connected(options.address, cpus=wanted, device=options.device))
        cluster = replace(cluster, labels=options.labels)
        executor = RayExecutor(plan, store, options, cluster=cluster, runner=runner)
        executor.on_close = stack.pop_all().close
    return executor


def _check(options: RunOptions) -> None:
    if options.keep_warm and options.ranks > 1:
        raise UserError("--keep-warm: works with single-process workers only (--ranks 1)")
    if options.labels and wanted_address(options.address) is None:
        raise UserError("--label: names machines of a cluster: give its --address")
    zero = zero_stage(options.zero, ranks=options.ranks, offload=options.offload)
    if zero and options.ranks == 1 and options.offload is None:
        raise UserError(f"--zero {zero}: needs a group of several processes, --ranks N, or something to --offload")


class RayExecutor:
    """An ``Executor`` on Ray actors."""

    def __init__(self, plan: Plan, store: Store, options: RunOptions, *, cluster: Cluster, runner: str) -> None:
        self._options = options
        self._cluster = cluster
        self._runner = runner
        self._most = len(packs(plan, size=options.pack, workers=options.spread))
        self._shape = self._choose()
        self._config = worker_config(plan, store, options, device=self._shape.device, threads=self._shape.threads)
        self._warm = Warm(kind=fingerprint(self._config, self._shape)) if not cluster.local else None
        self._gangs: dict[str, Gang] = {}
        self._later: dict[str, float] = {}
        self._grown = time.monotonic()
        self._stopping = False
        self._most_workers: dict[Place, int] = {"device": self._shape.workers, "endpoint": _ASKING.workers}
        self._wanted: Mapping[Place, int] = {}
        self._told = -math.inf
        self.on_close: Callable[[], None] = lambda: None
        if self._warm is not None and options.ranks == 1:
            self._warm.take_over()
            for name in _names("device", min(len(self._warm.free), self._shape.workers)):
                self._spawn(name, "device")
            self._warm.end_spare()

    def _choose(self) -> Shape:
        options = self._options
        gpus = self._cluster.gpus()
        if options.device == "cuda" and options.workers is not None and not self._cluster.local:
            # An autoscaler starts machines for what is asked of it, from none: what there is now is no limit.
            gpus = max(gpus, options.workers * options.ranks)
        shape = shape_of(
            self._cluster.cpus(),
            gpus,
            device=options.device,
            workers=options.workers,
            ranks=options.ranks,
            most=self._most,
            share=options.gpus_per_worker,
            threads=user_threads(),
        )
        return replace(shape, labels=tuple(options.labels.items()))

    def _spawn(self, name: str, place: Place) -> None:
        self._later.pop(name, None)
        config = self._config
        if place == "endpoint":
            gang = create(name, _ASKING, place=place)
            config = replace(config, device="cpu", place=place, threads=_ASKING.threads, zero=None, offload=None)
        elif self._warm is not None and self._warm.free:
            gang = Gang(name=name, actors=[self._warm.free.pop()])
        else:
            lasting = self._warm.name() if self._warm is not None and self._options.keep_warm else None
            gang = create(name, self._shape, lasting=lasting)
            if lasting is not None and self._warm is not None:
                self._warm.adopt(gang)
        gang.setup(config, self._runner)
        self._gangs[name] = gang

    def _of(self, place: Place) -> list[Gang]:
        return [gang for gang in self._gangs.values() if gang.place == place]

    # -- the Executor protocol -------------------------------------------------------------------------------

    def size(self) -> int:
        """Return how many workers with the base are up."""
        return sum(g.doing != "starting" for g in self._of("device"))

    def expect(self, packs: int) -> None:
        """Start workers on a machine of our own for what comes: nobody else could have its devices meanwhile."""
        if self._cluster.local:
            for name in _names("device", min(packs, self._shape.workers)):
                self._spawn(name, "device")

    def want(self, packs: Mapping[Place, int]) -> None:
        """Say how many packs run or could begin now, by place: no more workers are needed."""
        self._wanted = packs

    def notes(self) -> Sequence[str]:
        """Say for what workers the cluster has no room; now and then, as long as it is so."""
        now = time.monotonic()
        waiting = sum(not g.placed() and now - g.since >= PATIENCE for g in self._of("device"))
        if not waiting or now - self._told < _TELL_EVERY:
            return ()
        self._told = now
        what, each, there = "GPU", self._shape.gpus, float(self._cluster.gpus())
        if not each:
            what, each, there = "CPU", self._shape.cpus, float(sum(self._cluster.cpus()))
        count = waiting * self._shape.ranks * each
        line = f"waiting for {count:g} {what}{'' if count == 1 else 's'}; the cluster has {there:g}"
        logger.info(line)
        return (line,)

    def held(self) -> float:
        """Return how many GPUs the workers hold now; on CPUs, how many processes they are."""
        return sum(g.placed() for g in self._of("device")) * self._shape.ranks * (self._shape.gpus or 1)

    def idle(self, place: Place) -> Sequence[str]:
        """Return the workers of a place that could take a pack now."""
        return [gang.name for gang in self._of(place) if gang.doing == "idle"]

    def rooms(self) -> Mapping[str, float]:
        """Return the bytes of device memory that workers may use; infinite for one that is still starting."""
        found = {}
        for gang in self._of("device"):
            if gang.room is not None:
                found[gang.name] = gang.room * self._shape.gpus * _USABLE
            elif gang.doing == "starting" and self._shape.gpus and gang.placed():
                found[gang.name] = math.inf
        return found

    def submit(self, job: PackJob, *, worker: str) -> None:
        """Hand a pack to an idle worker."""
        self._gangs[worker].run(job)

    def wait(self, *, timeout: float) -> Sequence[Reply]:
        """Return what workers said, after at most ``timeout`` seconds."""
        if not self._stopping:
            self._grow()
            self._shrink()
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
        """Return how far the running packs are, by pack, as last heard."""
        running = [gang for gang in self._gangs.values() if gang.doing == "running"]
        for gang in running:
            gang.ask()
        return {gang.progress.pack: gang.progress for gang in running if gang.progress is not None}

    def stop(self) -> None:
        """Ask running packs to save their state and end; start no worker from now on."""
        self._stopping = True
        for gang in self._gangs.values():
            gang.stop()

    def close(self) -> None:
        """End every worker, or leave idle ones warm; then leave the cluster."""
        try:
            for gang in self._gangs.values():
                if self._warm is not None and self._options.keep_warm and gang.doing == "idle":
                    self._warm.let_go(gang)
                else:
                    gang.kill()
            self._gangs.clear()
        finally:
            self.on_close()

    # -- workers that come and go ----------------------------------------------------------------------------

    def _reply(self, gang: Gang) -> Reply | None:
        """Read a worker's answer; a worker of no more use is replaced."""
        starting, pack = gang.doing == "starting", gang.pack
        results, trouble, lost = gang.verdict()
        if starting and trouble is None:
            return None
        lost = lost or starting
        if lost:
            gang.kill()
            del self._gangs[gang.name]
            self._later[gang.name] = time.monotonic() + _delay(trouble if starting else None)
        return Reply(worker=gang.name, pack=pack, results=results, trouble=trouble, lost=lost)

    def _grow(self) -> None:
        """Start workers for the packs that there are."""
        now = time.monotonic()
        if not self._cluster.local and self._options.workers is None and now - self._grown >= GROW_SECONDS:
            self._grown = now
            self._most_workers["device"] = max(self._most_workers["device"], self._room())
        for place, most in self._most_workers.items():
            lacking = self._wanted.get(place, 0) - len(self._of(place))
            free = [n for n in _names(place, most) if n not in self._gangs and self._later.get(n, now) <= now]
            for name in free[: max(lacking, 0)]:
                self._spawn(name, place)

    def _shrink(self) -> None:
        """End workers, or withdraw requests for them, that nothing has needed for a while."""
        if self._options.keep_warm:
            return
        now = time.monotonic()
        for place in PLACES:
            spare = [g for g in self._of(place) if now - g.since >= IDLE_SECONDS]
            spare = [g for g in spare if g.doing == "idle" or not g.placed()]
            spare.sort(key=Gang.placed)  # requests first
            for gang in spare[: max(len(self._of(place)) - self._wanted.get(place, 0), 0)]:
                gang.kill()
                del self._gangs[gang.name]

    def _room(self) -> int:
        """Return how many workers the cluster has room for now; it may have grown or shrunk."""
        with contextlib.suppress(UserError):
            return self._choose().workers
        return 0


def _names(place: Place, count: int) -> list[str]:
    return [f"{'worker' if place == 'device' else place}-{i}" for i in range(count)]


def _delay(trouble: Trouble | None) -> float:
    """Return when to try a worker again: at once, unless it did not start."""
    if trouble is None:
        return 0.0
    return _TOO_SMALL_DELAY if trouble.kind == "out_of_memory" else _RESTART_DELAY
