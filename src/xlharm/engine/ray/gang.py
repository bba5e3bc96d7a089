"""The driver's side of a worker: one actor, or a gang, the actors of several ranks that start and end together."""

import re
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ray
from ray.exceptions import (
    AuthenticationError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RpcError,
)
from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from xlharm.engine.placement import WorkerShape
from xlharm.engine.ray.worker import CONTROL, Worker
from xlharm.engine.trouble import Trouble, TroubleKind, one_line
from xlharm.plan.stage import Place
from xlharm.stages.job import PackJob, Progress, RunnerConfig, StageResult

GROUP_PREFIX = "xlharm-gang-"  # of the names of placement groups
_LOST_CLUSTER = (AuthenticationError, LocalRayletDiedError, ObjectLostError, RpcError)  # of the call, not of the worker
_GRACE = 3.0  # seconds to wait for the other ranks' answers after one rank has failed
_POLL_SECONDS = 0.5  # between two requests for progress
_PAUSE_SECONDS = 10.0  # a driver that asked nothing for so long was stopped itself: that is no worker's silence
# When ranks of a gang fail in different ways, the first of these kinds is the cause and the others follow from it.
_CAUSES: tuple[TroubleKind, ...] = (
    "preempted", "node_died", "memory_taken", "out_of_memory", "disk_full", "corrupt", "base", "user", "crashed", "io",
    "error", "stopped",
)  # fmt: skip

# Ray tells in its error's text only how much memory was used, and by which worker.
_MACHINE_MEMORY = re.compile(r"was ([0-9.]+)GB used / ([0-9.]+)GB limit")
_WORKER_MEMORY = re.compile(r"Selected to kill: .*actual memory used=([0-9.]+)GB")

Actor = Any  # Ray's actor handles have no static type


@dataclass(kw_only=True)
class Gang:
    """The actors of one worker.

    Attributes:
        name: the worker's name.
        actors: one actor for each rank.
        group: the placement group of several ranks; None for one.
        doing: what the worker does at present.
        place: which packs it takes.
        room: bytes of memory of its smallest device; None without a device, or before it has started.
        pack: id of the pack that it runs.
        progress: the pack's last reported progress.
        since: when ``doing`` last changed, by ``time.monotonic``.
        where: its first process and machine, in words; empty while they are not known.
    """

    name: str
    actors: list[Actor]
    group: Any = None
    doing: Literal["starting", "idle", "running"] = "starting"
    place: Place = "device"
    room: int | None = None
    pack: str | None = None
    progress: Progress | None = None
    since: float = field(default_factory=time.monotonic)
    where: str = ""
    _calls: dict[Any, int] = field(default_factory=dict)
    _answers: dict[int, object] = field(default_factory=dict)
    _deadline: float | None = None
    _placement_call: Any = None
    _placed_at: float = 0.0
    _asked: dict[int, Any] = field(default_factory=dict)  # outstanding requests for progress, by rank
    _heard: dict[int, float] = field(default_factory=dict)  # when each rank last answered
    _last_poll: float = 0.0

    # -- calls -----------------------------------------------------------------------------------------------

    def setup(self, config: RunnerConfig, runner: str) -> None:
        """Load the base on every rank; the ranks get the address of rank 0 for their process group."""
        master = self.actors[0].endpoint.remote() if len(self.actors) > 1 else None
        world = len(self.actors)
        calls = [
            actor.setup.remote(replace(config, rank=rank, world=world), runner, master)
            for rank, actor in enumerate(self.actors)
        ]
        self._begin("starting", calls)
        self._placement_call = self.actors[0].here.options(concurrency_group=CONTROL).remote()

    def placed(self) -> bool:
        """Whether the cluster has reserved the worker's resources; all ranks of a gang are placed together."""
        if self._placement_call is not None and ray.wait([self._placement_call], timeout=0, fetch_local=False)[0]:
            answer = _answer(self._placement_call)
            self.where = answer if isinstance(answer, str) else ""
            self._placement_call, self._placed_at = None, time.monotonic()
        return self._placement_call is None

    def run(self, job: PackJob) -> None:
        """Run a pack on every rank."""
        self.pack = job.id
        self._begin("running", [actor.run.remote(job) for actor in self.actors])

    def stop(self) -> None:
        """Ask the running pack to save its state at its next step and end."""
        if self.doing == "running":
            for actor in self.actors:
                actor.stop.options(concurrency_group=CONTROL).remote(self.pack)

    def _begin(self, doing: Literal["starting", "running"], calls: list[Any]) -> None:
        self.doing, self.since = doing, time.monotonic()
        self._calls = {call: rank for rank, call in enumerate(calls)}
        self._answers, self._deadline, self.progress = {}, None, None
        self._asked, self._heard, self._last_poll = {}, {}, 0.0

    @property
    def calls(self) -> list[Any]:
        """Outstanding calls, for ``ray.wait``."""
        return list(self._calls)

    # -- answers ---------------------------------------------------------------------------------------------

    def collect(self, ready: set[Any]) -> bool:
        """Read the answers of calls that are ready; True when the worker's reply is complete.

        After a first failure, the reply is complete when every rank has answered or ``_GRACE`` has passed.
        """
        for call in [c for c in self._calls if c in ready]:
            answer = _answer(call)
            self._answers[self._calls.pop(call)] = answer
            if isinstance(answer, Trouble) and self._deadline is None:
                self._deadline = time.monotonic() + (_GRACE if self._calls else 0.0)
        if self._deadline is not None:
            return not self._calls or time.monotonic() >= self._deadline
        return self.doing != "idle" and not self._calls

    def take_result(self) -> tuple[list[StageResult], Trouble | None, bool]:
        """Return rank 0's results, the trouble if there is any, and whether the processes can run no more packs."""
        self.doing, self.pack, self._calls, self.progress, self._deadline = "idle", None, {}, None, None
        self.since = time.monotonic()
        rooms = [a for a in self._answers.values() if isinstance(a, int)]
        self.room = min(rooms, default=self.room)
        troubles = [a for a in self._answers.values() if isinstance(a, Trouble)]
        if troubles:
            cause = min(troubles, key=lambda t: _CAUSES.index(t.kind))
            lost = cause.lost or cause.kind == "error" or len(self.actors) > 1
            return [], cause, lost
        results = self._answers.get(0)
        return (results if isinstance(results, list) else []), None, False

    def listen(self, *, now: float) -> None:
        """Read the ranks' answers to the last request for progress, and send the next when it is due."""
        if now - self._last_poll < _POLL_SECONDS or not self.placed():
            return
        if now - self._last_poll > _PAUSE_SECONDS:
            self._heard = dict.fromkeys(range(len(self.actors)), now)
        self._last_poll = now
        for rank, actor in enumerate(self.actors):
            if (call := self._asked.get(rank)) is not None:
                if not ray.wait([call], timeout=0)[0]:
                    continue
                answer = _answer(call)
                self._heard[rank] = now
                if rank == 0 and isinstance(answer, Progress) and answer.pack == self.pack:
                    self.progress = answer
            self._asked[rank] = actor.progress.options(concurrency_group=CONTROL).remote()

    def silence(self, *, now: float) -> float:
        """Return for how many seconds a rank has not answered; 0 while it has no pack or no place on a machine."""
        if self.doing == "idle" or not self.placed():
            return 0.0
        return max((now - self._heard.get(rank, now) for rank in self._asked), default=0.0)

    def loading(self, *, now: float) -> float:
        """Return for how many seconds the worker has been loading the base; 0 when it is not."""
        return now - self._placed_at if self.doing == "starting" and self.placed() else 0.0

    def kill(self) -> None:
        """End the processes and release their resources."""
        for actor in self.actors:
            ray.kill(actor, no_restart=True)
        if self.group is not None:
            remove_placement_group(self.group)


def create(name: str, shape: WorkerShape, *, place: Place = "device", warm_name: str | None = None) -> Gang:
    """Create a worker's actors; they start in the background.

    Args:
        name: the worker's name.
        shape: the resources that each actor reserves.
        place: which packs the worker takes.
        warm_name: name of a single actor that outlives the driver; None ends the actor with the driver.
    """
    needs = {"num_cpus": shape.cpus, "num_gpus": shape.gpus}
    labels = dict(shape.labels) or None
    kind = ray.remote(concurrency_groups={CONTROL: 1})(Worker)
    if shape.ranks == 1:
        detached = {"name": warm_name, "lifetime": "detached"} if warm_name else {}
        options = {**needs, **detached, "scheduling_strategy": "SPREAD", "label_selector": labels}
        return Gang(name=name, place=place, actors=[kind.options(**options).remote(warm=warm_name is not None)])
    bundle = {"CPU": shape.cpus, "GPU": shape.gpus}
    group = placement_group(
        [{k: v for k, v in bundle.items() if v}] * shape.ranks,
        strategy="PACK",
        name=GROUP_PREFIX + secrets.token_hex(8),
        bundle_label_selector=[labels] * shape.ranks if labels else None,
    )
    actors = [
        kind.options(
            **needs,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
        ).remote()
        for rank in range(shape.ranks)
    ]
    return Gang(name=name, actors=actors, group=group)


def _answer(call: Any) -> object:
    try:
        return ray.get(call)
    except Exception as error:  # noqa: BLE001 - ray_trouble classifies every error
        return ray_trouble(error)


def ray_trouble(error: Exception) -> Trouble:
    """Classify the error of a Ray call that got no answer."""
    text = str(error)
    lower = text.lower()
    if isinstance(error, RayActorError) and error.preempted:
        return Trouble(kind="preempted", message="its machine was taken away", lost=True)
    if isinstance(error, RayOutOfMemoryError) or "low on memory" in lower:
        return _memory_trouble(text)
    if isinstance(error, NodeDiedError) or "node has died" in lower or "node died" in lower or "node failure" in lower:
        return Trouble(kind="node_died", message="its machine died", lost=True)
    if isinstance(error, _LOST_CLUSTER):
        return Trouble(kind="node_died", message="the Ray cluster has lost the call", detail=text, lost=True)
    if isinstance(error, RayActorError):
        return Trouble(kind="crashed", message="the worker process died", detail=text, lost=True)
    return Trouble(kind="error", message=f"{type(error).__name__}: {one_line(error)}", detail=text, lost=True)


def _memory_trouble(text: str) -> Trouble:
    """Say whose memory it was when Ray ended a worker because the machine's memory was nearly full."""
    on_machine = _MACHINE_MEMORY.search(text)
    if on_machine is None:  # another version of Ray: by far the most of a machine's memory is seldom one pack's
        return Trouble(kind="memory_taken", message="the machine's memory is full", detail=text, lost=True)
    used, limit = map(float, on_machine.groups())
    own = max((float(hit.group(1)) for hit in _WORKER_MEMORY.finditer(text)), default=0.0)
    of_all = f"{used:.1f} of {limit:.1f} GB"
    if own >= used / 2:
        message = f"the worker needs more memory than its machine has: it used {own:.1f} of {limit:.1f} GB"
        return Trouble(kind="out_of_memory", message=message, detail=text, lost=True)
    message = f"other processes fill the machine's memory ({of_all}, of which this worker {own:.1f} GB)"
    return Trouble(kind="memory_taken", message=message, detail=text, lost=True)
