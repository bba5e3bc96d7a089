"""A worker as the driver sees it: one actor, or a gang of ranks that lives and dies as one."""

import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ray
from ray.exceptions import NodeDiedError, RayActorError
from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from xlharm.engine.placement import Shape
from xlharm.engine.ray.worker import CONTROL, Worker
from xlharm.engine.trouble import Trouble, TroubleKind, one_line
from xlharm.plan.stage import Place
from xlharm.stages.job import PackJob, Progress, RunnerConfig, StageResult

_GRACE = 3.0  # seconds in which the other ranks may say what really happened
_ASK_EVERY = 0.5  # seconds between questions for progress
# When ranks of a gang tell different stories, the first of these is the cause and the others its echo.
_CAUSES: tuple[TroubleKind, ...] = (
    "preempted", "node_died", "out_of_memory", "disk_full", "corrupt", "user", "crashed", "io", "error",
    "stopped",
)  # fmt: skip

Actor = Any  # Ray's actor handles have no static type


@dataclass(kw_only=True)
class Gang:
    """The actors of one worker.

    Attributes:
        name: of the worker.
        actors: one a rank.
        doing: what the outstanding calls are.
        place: what it is for.
        room: bytes of memory of its smallest device; None where it has none, or has not told yet.
        pack: that it runs.
        progress: of the pack, as last heard.
        since: when it last began or ended something.
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
    _calls: dict[Any, int] = field(default_factory=dict)
    _answers: dict[int, object] = field(default_factory=dict)
    _deadline: float | None = None
    _question: Any = None
    _placing: Any = None
    _asked: float = 0.0

    # -- calls -----------------------------------------------------------------------------------------------

    def setup(self, config: RunnerConfig, runner: str) -> None:
        """Load the base on every rank; rank 0 tells the others where to meet."""
        master = self.actors[0].endpoint.remote() if len(self.actors) > 1 else None
        world = len(self.actors)
        calls = [
            actor.setup.remote(replace(config, rank=rank, world=world), runner, master)
            for rank, actor in enumerate(self.actors)
        ]
        self._begin("starting", calls)
        self._placing = self.actors[0].here.options(concurrency_group=CONTROL).remote()

    def placed(self) -> bool:
        """Whether the cluster has found room for it; a gang finds room as one."""
        if self._placing is not None and ray.wait([self._placing], timeout=0, fetch_local=False)[0]:
            self._placing = None
        return self._placing is None

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

    @property
    def calls(self) -> list[Any]:
        """Outstanding calls, for ``ray.wait``."""
        return list(self._calls)

    # -- answers ---------------------------------------------------------------------------------------------

    def collect(self, ready: set[Any]) -> bool:
        """Take in the calls that are ready; True when all that matters has been said."""
        for call in [c for c in self._calls if c in ready]:
            answer = _answer(call)
            self._answers[self._calls.pop(call)] = answer
            if isinstance(answer, Trouble) and self._deadline is None:
                self._deadline = time.monotonic() + (_GRACE if self._calls else 0.0)
        if self._deadline is not None:
            return not self._calls or time.monotonic() >= self._deadline
        return self.doing != "idle" and not self._calls

    def verdict(self) -> tuple[list[StageResult], Trouble | None, bool]:
        """Return results of rank 0, or the trouble, and whether the processes are of no more use."""
        self.doing, self.pack, self._calls, self.progress, self._deadline = "idle", None, {}, None, None
        self.since = time.monotonic()
        rooms = [a for a in self._answers.values() if isinstance(a, int)]
        self.room = min(rooms, default=self.room)
        troubles = [a for a in self._answers.values() if isinstance(a, Trouble)]
        if troubles:
            cause = min(troubles, key=lambda t: _CAUSES.index(t.kind))
            lost = cause.kind in {"preempted", "node_died", "crashed", "error"} or len(self.actors) > 1
            return [], cause, lost
        told = self._answers.get(0)
        return (told if isinstance(told, list) else []), None, False

    def ask(self) -> None:
        """Keep one question for progress under way while a pack runs."""
        now = time.monotonic()
        if self._question is not None:
            if not ray.wait([self._question], timeout=0)[0]:
                return
            answer = _answer(self._question)
            self._question = None
            if isinstance(answer, Progress) and answer.pack == self.pack:
                self.progress = answer
        if now - self._asked >= _ASK_EVERY:
            self._asked = now
            self._question = self.actors[0].progress.options(concurrency_group=CONTROL).remote()

    def kill(self) -> None:
        """End the processes and give their place back."""
        for actor in self.actors:
            ray.kill(actor, no_restart=True)
        if self.group is not None:
            remove_placement_group(self.group)


def create(name: str, shape: Shape, *, place: Place = "device", lasting: str | None = None) -> Gang:
    """Start a worker's actors; they come up in the background.

    Args:
        name: of the worker.
        shape: what each actor reserves.
        place: what it is for.
        lasting: name under which a single actor outlives the driver.
    """
    needs = {"num_cpus": shape.cpus, "num_gpus": shape.gpus}
    labels = dict(shape.labels) or None
    kind = ray.remote(concurrency_groups={CONTROL: 1})(Worker)
    if shape.ranks == 1:
        kept = {"name": lasting, "lifetime": "detached"} if lasting else {}
        options = {**needs, **kept, "scheduling_strategy": "SPREAD", "label_selector": labels}
        return Gang(name=name, place=place, actors=[kind.options(**options).remote(warm=lasting is not None)])
    bundle = {"CPU": shape.cpus, "GPU": shape.gpus}
    group = placement_group(
        [{k: v for k, v in bundle.items() if v}] * shape.ranks,
        strategy="PACK",
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
    except Exception as error:  # noqa: BLE001 - whatever Ray raises is classified
        return ray_trouble(error)


def ray_trouble(error: Exception) -> Trouble:
    """Classify what Ray says of a call that got no answer."""
    text = str(error)
    low = text.lower()
    if isinstance(error, RayActorError) and error.preempted:
        return Trouble(kind="preempted", message="its machine was taken away")
    if isinstance(error, RayOutOfMemoryError) or "low on memory" in low or "out of memory" in low:
        return Trouble(kind="out_of_memory", message="the machine ran out of memory")
    if isinstance(error, NodeDiedError) or "node has died" in low or "node died" in low or "node failure" in low:
        return Trouble(kind="node_died", message="its machine died")
    if isinstance(error, RayActorError):
        return Trouble(kind="crashed", message="the worker process died", detail=text)
    return Trouble(kind="error", message=f"{type(error).__name__}: {one_line(error)}", detail=text)
