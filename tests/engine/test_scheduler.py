"""The reducer: what runs, what never runs, and that its counters are what a scan would find."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.worlds import grid_of, plan_of
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
from xlharm.engine.scheduler import Graph, State, apply
from xlharm.plan.build import Plan
from xlharm.plan.packs import packs
from xlharm.plan.stage import PLACES, Place

GRID = grid_of(
    languages=["en", "de", "ur"],
    contaminate=["none", "de", "ur"],
    unlearn={"none": [], "en": ["en"], "both": ["en", "source"]},
    methods={"npo": {"objective": "npo"}, "ga": {"objective": "ga", "steps": 7}},
    seeds=[0, 1],
    judges={"strict": {"kind": "chat", "url": "http://127.0.0.1:9/v1", "model": "m"}},
)
PLAN = plan_of(GRID)
GRAPH = Graph.of(PLAN)


def fresh(size: int = 3, plan: Plan = PLAN) -> State:
    return State(Graph.of(plan), packs(plan, size=size))


def descendants(key: str) -> set[str]:
    below: set[str] = set()
    waiting = [key]
    while waiting:
        for child in GRAPH.children[waiting.pop()]:
            if child not in below:
                below.add(child)
                waiting.append(child)
    return below


def check_counters(state: State) -> None:
    """What the state says of itself is what a scan of the whole grid finds."""
    ready: dict[Place, list[str]] = {place: [] for place in PLACES}
    left = 0
    for name, pack in state.packs.items():
        missing = [k for k in pack.keys if k not in state.done and k not in state.dead]
        assert state.missing(name) == tuple(missing)
        left += len(missing)
        parents = {p for k in missing for p in GRAPH.parents[k]}
        idle = name not in state.running and name not in state.deferred
        if missing and idle and parents <= state.done:
            ready[PLAN.stages[pack.keys[0]].place].append(name)
    for place, names in ready.items():
        assert sorted(state.ready(place)) == sorted(names)
        for limit in (0, 1, 2, 100):
            assert state.ready(place, limit=limit) == state.ready(place)[:limit]
            assert state.ready(place, worker="w0", limit=limit) == state.ready(place, worker="w0")[:limit]
        assert state.ready_count(place) == len(names)
    assert state.left == left
    assert sorted(k for p in state.packs.values() for k in p.keys) == sorted(PLAN.stages)


class Simulation:
    """Random workers: they finish, fail, crash, run out of memory and damage files."""

    def __init__(self, size: int, rng: random.Random, *, splits: bool = True) -> None:
        self.state = fresh(size)
        self.rng = rng
        self.splits = splits
        self.runs: dict[str, int] = {}
        self.excused: dict[str, int] = {}  # runs that were lost, by no fault of the scheduler
        self.failed: set[str] = set()
        self.shared: set[frozenset[str]] = set()
        self.corrupted = False

    def tell(self, event: Event) -> None:
        before = self.state.copy()
        after = apply(self.state, event)
        assert before.__dict__ == self.state.__dict__, "apply changed its argument"
        self.state.advance(event)
        assert after.__dict__ == self.state.__dict__, "advance and apply differ"
        check_counters(self.state)

    def dispatch(self) -> bool:
        free = sorted({"w0", "w1", "w2"} - set(self.state.running.values()))
        places = [place for place in PLACES if self.state.ready_count(place)]
        if not free or not places:
            return False
        worker = self.rng.choice(free)
        pack = self.state.ready(self.rng.choice(places), worker=worker)[0]
        for key in self.state.missing(pack):
            assert set(GRAPH.parents[key]) <= self.state.done
            assert key not in self.state.dead
            if not self.corrupted:  # else a finished stage may stand between the failed one and this
                assert not any(key in descendants(f) for f in self.failed), "a failed stage's descendant ran"
            self.runs[key] = self.runs.get(key, 0) + 1
        self.shared.add(frozenset(self.state.packs[pack].keys))
        self.tell(Dispatched(pack=pack, worker=worker))
        return True

    def reply(self) -> None:
        pack = self.rng.choice(sorted(self.state.running))
        worker = self.state.running[pack]
        missing = self.state.missing(pack)
        kind = self.rng.choice(["ok", "ok", "ok", "fail", "lost", "oom", "defer", "corrupt"])
        if kind in {"ok", "fail"}:
            for key in missing:
                if kind == "fail" and self.rng.random() < 0.3:
                    self.failed.add(key)
                    self.tell(Failed(key=key))
                else:
                    self.tell(Finished(key=key, worker=worker))
            self.tell(Ended(pack=pack))
            return
        some = missing[: self.rng.randrange(len(missing) + 1)]
        for key in missing:
            self.excused[key] = self.excused.get(key, 0) + 1
        for key in some:  # committed before the worker went
            self.tell(Finished(key=key))
        if kind == "lost":
            self.tell(WorkerLost(worker=worker))
        elif kind == "oom" and self.splits and len(self.state.packs[pack].keys) > 1:
            self.tell(PackSplit(pack=pack))
        elif kind == "corrupt":
            self.tell(Ended(pack=pack))
            self.corrupt(missing)
        else:
            self.tell(Ended(pack=pack))
            if kind == "defer":
                self.tell(Deferred(pack=pack))
                self.tell(Resumed(pack=pack))

    def corrupt(self, keys: tuple[str, ...]) -> None:
        parents = sorted({p for k in keys for p in GRAPH.parents[k]} & self.state.done)
        if parents and self.rng.random() < 0.5:
            key = self.rng.choice(parents)
            self.corrupted = True
            self.excused[key] = self.excused.get(key, 0) + 1
            self.tell(Corrupted(key=key))

    def run(self) -> None:
        for _ in range(3000):
            if not self.state.left:
                return
            dispatched = self.rng.random() < 0.6 and self.dispatch()
            if not dispatched and self.state.running:
                self.reply()
        raise AssertionError("the grid did not come to an end")


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(size=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_whatever_happens_the_rest_finishes_and_nothing_runs_twice_for_nothing(size: int, seed: int) -> None:
    world = Simulation(size, random.Random(seed))
    world.run()
    dead = {k for f in world.failed for k in (f, *descendants(f))}
    assert world.state.dead <= dead
    assert world.state.done == set(PLAN.stages) - world.state.dead
    assert world.failed <= world.state.dead
    for key, runs in world.runs.items():
        assert runs <= 1 + world.excused.get(key, 0)
    assert not world.state.running


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(size=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_the_order_of_things_never_changes_which_stages_share_a_pack(size: int, seed: int) -> None:
    world = Simulation(size, random.Random(seed), splits=False)
    world.run()
    assert world.shared <= {frozenset(p.keys) for p in packs(PLAN, size=size)}


def test_longest_path_first_then_plan_order() -> None:
    state = fresh(size=1)
    first = [state.packs[p].kind for p in state.ready()]
    assert set(first) == {"contaminate"}
    keys = [state.packs[p].keys[0] for p in state.ready()]
    urgency = [GRAPH.urgency[k] for k in keys]
    assert urgency == sorted(urgency, reverse=True)
    done = [k for k, s in PLAN.stages.items() if s.kind in {"contaminate", "sft"}]
    state = State(GRAPH, packs(PLAN, size=1), done=done)
    kinds = [state.packs[p].kind for p in state.ready()]
    assert kinds.index("evaluate") == kinds.count("unlearn")  # unlearning has evaluations below it


def test_a_child_goes_where_its_parent_is_warm() -> None:
    done = [k for k, s in PLAN.stages.items() if s.kind in {"contaminate", "sft"}]
    sft = [k for k in done if PLAN.stages[k].kind == "sft"]
    state = State(GRAPH, packs(PLAN, size=1), done=done)
    for i, key in enumerate(sft):
        state.advance(Finished(key=key, worker=f"w{i % 2}"))
    for worker in ("w0", "w1"):
        pack = state.ready(worker=worker)[0]
        key = state.packs[pack].keys[0]
        assert PLAN.stages[key].kind == "unlearn"
        assert sft.index(PLAN.stages[key].inputs[0]) % 2 == int(worker[1])
    state.advance(WorkerLost(worker="w1"))
    assert state.ready(worker="w1") == state.ready()


def test_below_a_finished_stage_the_grid_goes_on_when_its_parent_cannot_be_made_again() -> None:
    lineage = next(c.lineage for c in PLAN.cells if len(c.lineage) == 3)
    contaminate, sft, unlearn = lineage
    state = State(GRAPH, packs(PLAN, size=2), done=[contaminate, sft])
    state.advance(Corrupted(key=contaminate))
    state.advance(Failed(key=contaminate))
    assert contaminate in state.dead
    assert unlearn not in state.dead
    check_counters(state)


def test_a_stage_that_was_running_when_its_parent_was_lost_for_good_still_counts() -> None:
    contaminate, sft, *_ = next(c.lineage for c in PLAN.cells if len(c.lineage) == 3)
    state = State(GRAPH, packs(PLAN, size=1), done=[contaminate])
    pack = next(name for name, pack in state.packs.items() if sft in pack.keys)
    for event in (Dispatched(pack=pack, worker="w"), Corrupted(key=contaminate), Failed(key=contaminate)):
        state.advance(event)
    assert sft in state.dead
    for event in (Finished(key=sft, worker="w"), Ended(pack=pack)):
        state.advance(event)
    assert sft in state.done
    check_counters(state)


def test_failures_remembered_from_before_are_not_run() -> None:
    contaminate = next(iter(PLAN.stages))
    state = State(GRAPH, packs(PLAN, size=2), failed=[contaminate])
    assert state.dead == {contaminate, *descendants(contaminate)}
    check_counters(state)


def test_width_counts_the_packs_that_what_is_left_lets_run_side_by_side() -> None:
    whole = fresh(size=1)
    by_depth = {
        kind: sum(pack.kind == kind for pack in whole.packs.values()) for kind in ("contaminate", "sft", "unlearn")
    }
    unlearnt = {k for k, stage in PLAN.stages.items() if stage.kind == "unlearn"}
    leaves = {k for k, stage in PLAN.stages.items() if stage.kind == "evaluate" and set(stage.inputs) & unlearnt}
    assert whole.width() == len(leaves) > max(by_depth.values())
    # on answers of trunks no other stage depends: without the unlearnt they are as wide as it gets
    for key in (*unlearnt, *leaves):
        whole.advance(Finished(key=key, worker=None))
    assert whole.width() < len(leaves)
    for key in PLAN.stages:
        whole.advance(Finished(key=key, worker=None))
    assert whole.width() == 0
