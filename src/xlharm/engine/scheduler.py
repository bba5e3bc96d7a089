"""Which pack runs next: a state that events change. Counters keep each step independent of the grid's size."""

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
from xlharm.plan.packs import Pack, halves
from xlharm.plan.stage import PLACES, Place

_Entry = tuple[float, tuple[int, ...], str]  # negative urgency, order in the plan, pack id
_COMPARED = 64  # equally urgent packs that are compared by their parents' warm adapters


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The part of the schedule that does not change while a plan runs.

    Attributes:
        parents: each stage's inputs.
        children: the stages that have it as input.
        urgency: seconds on the longest path from a stage (included) to a leaf.
    """

    parents: Mapping[str, tuple[str, ...]]
    children: Mapping[str, tuple[str, ...]]
    urgency: Mapping[str, float]

    @classmethod
    def of(cls, plan: Plan, *, seconds: Mapping[str, float] | None = None) -> Self:
        """Read a plan's tree; ``seconds`` are the expected seconds of each stage, by key."""
        seconds = seconds or dict.fromkeys(plan.stages, 1.0)
        children = plan.children()
        urgency: dict[str, float] = {}
        for key in reversed(plan.stages):  # parents come first in a plan
            urgency[key] = seconds[key] + max((urgency[c] for c in children[key]), default=0.0)
        return cls(parents={k: s.inputs for k, s in plan.stages.items()}, children=children, urgency=urgency)


class State:
    """Which stages of a plan are finished and which packs run. ``apply`` returns a new state, ``advance`` changes it.

    Attributes:
        packs: packs by id; a pack that was split is replaced by its halves.
        done: keys of finished stages.
        dead: keys of stages that failed and of all their unfinished descendants.
        running: worker of each running pack.
        deferred: ids of packs that must not be dispatched for now.
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
        self._warm: dict[str, str] = {}  # stage: the worker that has its adapter in memory
        self._left = 0
        for key in failed:
            self._mark_dead(key)
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
        """Return the ids of the packs with unfinished stages."""
        return [p for p, n in self._missing.items() if n]

    def width(self) -> int:
        """Return how many packs on the base can run at the same time: the largest number left at one depth."""
        depth: dict[str, int] = {}
        for key, parents in self.graph.parents.items():  # parents come first
            if self._wanted(key):
                depth[key] = 1 + max((depth.get(p, 0) for p in parents), default=0)
        left = (p for p in self.remaining() if self.packs[p].place == "device")
        return max(Counter(max(depth[k] for k in self.missing(p)) for p in left).values(), default=0)

    def ready(self, place: Place = "device", *, worker: str | None = None, limit: int | None = None) -> list[str]:
        """Return packs to dispatch, best first.

        The order is: longest critical path, then most parent adapters in the memory of ``worker``, then plan order.
        """
        entries = self._ready[place]
        if worker is None or not entries:
            return [pack for _, _, pack in entries[:limit]]
        top = entries[0][0]
        equal = [entry for entry in entries[:_COMPARED] if entry[0] == top]
        best = sorted(equal, key=lambda entry: -self._warm_parents(entry[2], worker))  # stable: keeps plan order
        rest = entries[len(equal) : limit]  # cut at the limit: the list may be as long as the grid
        return [pack for _, _, pack in (*best[:limit], *rest)]

    def _warm_parents(self, pack: str, worker: str) -> int:
        return sum(self._warm.get(p) == worker for k in self.missing(pack) for p in self.graph.parents[k])

    def _wanted(self, key: str) -> bool:
        return key not in self.done and key not in self.dead

    # -- changing --------------------------------------------------------------------------------------------

    def copy(self) -> "State":
        """Return a copy whose changes do not affect this state."""
        other = State.__new__(State)
        other.__dict__.update({k: v.copy() if isinstance(v, (dict, set)) else v for k, v in self.__dict__.items()})
        other.__dict__["_ready"] = {place: list(entries) for place, entries in self._ready.items()}
        return other

    def advance(self, event: Event) -> None:
        """Apply an event in place."""
        match event:
            case Dispatched(pack=pack, worker=worker):
                self.running[pack] = worker
                self._refresh(pack)
            case Finished(key=key, worker=worker):
                self._finish(key, worker)
            case Failed(key=key):
                self._mark_dead(key)
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
        """Add a pack to the list of ready packs, or remove it."""
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
        if key in self.dead:  # it was running when its parent was damaged and could not be computed again
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
            self._mark_dead(key)  # it cannot be computed again

    def _count(self, key: str, change: int) -> None:
        """Update the counters of a stage's pack: one missing stage less (-1) or more (+1)."""
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

    def _mark_dead(self, key: str) -> None:
        """Mark a stage and its unfinished descendants as dead."""
        stack = [key]
        while stack:
            current = stack.pop()
            if not self._wanted(current):
                continue  # a finished stage's children can run even when its parents are dead
            self.dead.add(current)
            if current in self._pack_of:  # the constructor marks dead stages before it adds packs
                self._count(current, -1)
            stack += self.graph.children[current]

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
