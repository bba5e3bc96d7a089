"""Which pack runs next: a reducer over events, with counters so that a step costs no scan of the grid."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from xlharm.engine.events import (
    Corrupted,
    Deferred,
    Dispatched,
    Ended,
    Event,
    Failed,
    Finished,
    PackSplit,
    Resumed,
    WorkerLost,
)
from xlharm.plan.build import Plan
from xlharm.plan.cost import DEFAULT_SECONDS
from xlharm.plan.packs import Pack, halves
from xlharm.plan.stage import PLACES, Kind, Place

_Entry = tuple[float, tuple[int, ...], str]  # urgency, order in the plan, id
_LOOKED_AT = 64  # equally urgent packs among which a worker's warm adapters decide


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What never changes while a plan runs.

    Attributes:
        parents: each stage's inputs.
        children: the stages that have it as input.
        urgency: seconds on the longest path from a stage (included) to a leaf.
    """

    parents: Mapping[str, tuple[str, ...]]
    children: Mapping[str, tuple[str, ...]]
    urgency: Mapping[str, float]

    @classmethod
    def of(cls, plan: Plan, *, seconds: Mapping[Kind, float] | None = None) -> Self:
        """Read a plan's tree; ``seconds`` are measured times a stage by kind."""
        known = {**DEFAULT_SECONDS, **(seconds or {})}
        children = plan.children()
        urgency: dict[str, float] = {}
        for key, stage in reversed(plan.stages.items()):  # parents come first in a plan
            urgency[key] = known[stage.kind] + max((urgency[c] for c in children[key]), default=0.0)
        return cls(parents={k: s.inputs for k, s in plan.stages.items()}, children=children, urgency=urgency)


class State:
    """How far a plan is. Change it by ``apply`` (a new state) or ``advance`` (in place, for the driver).

    Attributes:
        packs: live packs by id, those that were split replaced by their halves.
        done: finished stages.
        dead: stages that failed and all their descendants.
        running: worker of each running pack.
        deferred: packs that are not to be dispatched for now.
    """

    def __init__(
        self, graph: Graph, packs: Iterable[Pack], *, done: Collection[str] = (), failed: Collection[str] = ()
    ) -> None:
        self.graph = graph
        self.packs: dict[str, Pack] = {}
        self.done: set[str] = set(done)
        self.dead: set[str] = set()
        self.running: dict[str, str] = {}
        self.deferred: set[str] = set()
        self._pack_of: dict[str, str] = {}
        self._order: dict[str, tuple[int, ...]] = {}
        self._missing: dict[str, int] = {}
        self._blocked: dict[str, int] = {}
        self._rank: dict[str, float] = {}
        self._ready: dict[Place, list[_Entry]] = {place: [] for place in PLACES}
        self._warm: dict[str, str] = {}
        self._left = 0
        for key in failed:
            self._bury(key)
        for i, pack in enumerate(packs):
            self._add(pack, order=(i,))

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Number of stages that are neither done nor dead."""
        return self._left

    def ready_count(self, place: Place = "device") -> int:
        """Return how many packs could be dispatched now."""
        return len(self._ready[place])

    def missing(self, pack: str) -> tuple[str, ...]:
        """Return a pack's stages that are neither done nor dead, in the pack's order."""
        return tuple(k for k in self.packs[pack].keys if self._wanted(k))

    def remaining(self) -> list[str]:
        """Return the ids of the packs with something left to do."""
        return [p for p, n in self._missing.items() if n]

    def width(self) -> int:
        """Return how many packs with the base can run side by side: the most equally deep ones of what is left."""
        depth: dict[str, int] = {}
        for key, parents in self.graph.parents.items():  # parents come first
            if self._wanted(key):
                depth[key] = 1 + max((depth.get(p, 0) for p in parents), default=0)
        left = (p for p in self.remaining() if self.packs[p].place == "device")
        return max(Counter(max(depth[k] for k in self.missing(p)) for p in left).values(), default=0)

    def ready(self, place: Place = "device", *, worker: str | None = None, limit: int | None = None) -> list[str]:
        """Return packs to dispatch, best first: longest critical path, then parents warm on ``worker``."""
        listed = self._ready[place]
        if worker is None or not listed:
            return [pack for _, _, pack in listed[:limit]]
        top = listed[0][0]
        equal = [entry for entry in listed[:_LOOKED_AT] if entry[0] == top]
        best = sorted(equal, key=lambda entry: -self._warmth(entry[2], worker))  # stable: plan order last
        rest = listed[len(equal) : limit]  # no more than is asked for: the list may be as long as the grid
        return [pack for _, _, pack in (*best[:limit], *rest)]

    def _warmth(self, pack: str, worker: str) -> int:
        return sum(self._warm.get(p) == worker for k in self.missing(pack) for p in self.graph.parents[k])

    def _wanted(self, key: str) -> bool:
        return key not in self.done and key not in self.dead

    # -- changing --------------------------------------------------------------------------------------------

    def copy(self) -> "State":
        """Return a state that shares nothing that changes."""
        twin = State.__new__(State)
        twin.__dict__.update({k: v.copy() if isinstance(v, (dict, set)) else v for k, v in self.__dict__.items()})
        twin.__dict__["_ready"] = {place: list(entries) for place, entries in self._ready.items()}
        return twin

    def advance(self, event: Event) -> None:
        """Apply an event in place."""
        match event:
            case Dispatched(pack=pack, worker=worker):
                self.running[pack] = worker
                self._refresh(pack)
            case Finished(key=key, worker=worker):
                self._finish(key, worker)
            case Failed(key=key):
                self._bury(key)
            case Ended(pack=pack):
                self.running.pop(pack, None)
                self._refresh(pack)
            case WorkerLost(worker=worker):
                self._lose(worker)
            case PackSplit(pack=pack):
                self._split(pack)
            case Corrupted(key=key):
                self._unfinish(key)
            case Deferred(pack=pack):
                self.deferred.add(pack)
                self._refresh(pack)
            case Resumed(pack=pack):
                self.deferred.discard(pack)
                self._refresh(pack)

    def _add(self, pack: Pack, *, order: tuple[int, ...]) -> None:
        name = pack.id
        wanted = [k for k in pack.keys if self._wanted(k)]
        self.packs[name], self._order[name] = pack, order
        self._pack_of.update(dict.fromkeys(pack.keys, name))
        self._missing[name] = len(wanted)
        self._blocked[name] = sum(p not in self.done for k in wanted for p in self.graph.parents[k])
        self._rank[name] = -max(self.graph.urgency[k] for k in pack.keys)
        self._left += len(wanted)
        self._refresh(name)

    def _refresh(self, pack: str) -> None:
        """Put a pack on the list of ready ones, or take it off."""
        idle = pack not in self.running and pack not in self.deferred
        ready = idle and self._missing[pack] > 0 and self._blocked[pack] == 0
        entry = (self._rank[pack], self._order[pack], pack)
        entries = self._ready[self.packs[pack].place]
        at = bisect_left(entries, entry)
        listed = at < len(entries) and entries[at] == entry
        if ready and not listed:
            insort(entries, entry)
        elif listed and not ready:
            del entries[at]

    def _finish(self, key: str, worker: str | None) -> None:
        if worker is not None:
            self._warm[key] = worker
        if key in self.done:
            return
        self.done.add(key)
        if key in self.dead:  # it was running when its parent, found damaged, could not be made again
            self.dead.discard(key)
            return
        self._count(key, -1)
        self._unblock(key, -1)

    def _unfinish(self, key: str) -> None:
        if key not in self.done:
            return
        self.done.discard(key)
        self._warm.pop(key, None)
        self._count(key, +1)
        self._unblock(key, +1)
        if any(p in self.dead for p in self.graph.parents[key]):
            self._bury(key)  # it cannot be made again

    def _count(self, key: str, change: int) -> None:
        """A stage left (-1) or joined (+1) the missing ones of its pack."""
        pack = self._pack_of[key]
        self._missing[pack] += change
        self._left += change
        self._blocked[pack] += change * sum(p not in self.done for p in self.graph.parents[key])
        self._refresh(pack)

    def _unblock(self, key: str, change: int) -> None:
        for child in self.graph.children[key]:
            if self._wanted(child):
                pack = self._pack_of[child]
                self._blocked[pack] += change
                self._refresh(pack)

    def _bury(self, key: str) -> None:
        """A stage and its unfinished descendants are dead."""
        waiting = [key]
        while waiting:
            current = waiting.pop()
            if not self._wanted(current):
                continue  # below a finished stage the grid can go on, whatever became of its parents
            self.dead.add(current)
            if current in self._pack_of:  # not so while the state is being made
                self._count(current, -1)
            waiting += self.graph.children[current]

    def _lose(self, worker: str) -> None:
        self._warm = {k: w for k, w in self._warm.items() if w != worker}
        for pack in [p for p, w in self.running.items() if w == worker]:
            del self.running[pack]
            self._refresh(pack)

    def _split(self, pack: str) -> None:
        self.running.pop(pack, None)
        self.deferred.discard(pack)
        self._left -= self._missing[pack]
        self._missing[pack] = 0
        self._refresh(pack)
        whole, order = self.packs.pop(pack), self._order.pop(pack)
        for table in (self._missing, self._blocked, self._rank):
            del table[pack]
        for i, half in enumerate(halves(whole)):
            self._add(half, order=(*order, i))


def apply(state: State, event: Event) -> State:
    """Return the state after an event; ``state`` itself does not change."""
    after = state.copy()
    after.advance(event)
    return after
