"""Simulates how well the scheduler uses 1 to 512 GPUs: the engine's own scheduler with a simulated clock.

``python -m benchmarks.schedule [--slope S] [--most K] [--seeds N] [--driver-ms T]``
"""

import argparse
import heapq
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.grids import plan_of

from xlharm.engine.events import Dispatched, Ended, Finished
from xlharm.engine.scheduler import Graph, State
from xlharm.plan.build import Plan
from xlharm.plan.packs import Pack, packs
from xlharm.plan.stage import Kind

# Seconds of a stage alone in its pack. From the quickstart on one H200 (docs/benchmarks.md): 5.0, 0.7 and 3.0 s for
# packs of 3, 3 and 6, and 39 s for 18 packs of 3 or 6 evaluations, divided by the relative time of such packs at SLOPE.
ALONE: dict[Kind, float] = {"contaminate": 4.2, "sft": 0.6, "unlearn": 2.1, "evaluate": 1.6}
# Time that each further slot adds to a pack, as a share of a stage alone. For an 8B base on an H100, one sequence each:
# 0.227 s a step alone, 0.369 s for 8 stacked adapters: (0.369 / 0.227 - 1) / 7. At 1.0 packs save nothing.
SLOPE = 0.09


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The time of a pack: ``alone[kind] * (1 + slope * (slots - 1))`` seconds."""

    alone: Mapping[Kind, float]
    slope: float

    def of(self, pack: Pack) -> float:
        """Return the seconds of a pack."""
        return self.full(pack.kind, slots=len(pack.keys))

    def full(self, kind: Kind, *, slots: int) -> float:
        """Return the seconds of a pack with ``slots`` slots."""
        return self.alone[kind] * (1 + self.slope * (slots - 1))


@dataclass(frozen=True, kw_only=True)
class Result:
    """The time of a simulated run, and lower bounds for it, in seconds.

    Attributes:
        makespan: time until the last pack ended.
        simple: the larger of the longest chain of these packs and their work spread evenly over the GPUs.
        own: lower bound for these packs (see ``_least``); no schedule is faster.
        any: lower bound for all ways to cut the grid into packs: chains as if every stage were alone, work as if
            every pack were full. No cut has both, so this bound cannot be reached.
    """

    makespan: float
    simple: float
    own: float
    any: float


def simulate(plan: Plan, cut: Sequence[Pack], *, gpus: int, costs: Costs, most: int, driver: float) -> Result:
    """Simulate a run on ``gpus`` workers of equal speed; the driver submits one pack every ``driver`` seconds."""
    state = State(Graph.of(plan, seconds=costs.alone), cut)
    idle = [f"w{i}" for i in reversed(range(gpus))]
    ends: list[tuple[float, int, str, str]] = []
    number = itertools.count()
    now = free = 0.0
    while state.left:
        while idle and (best := state.ready(worker=idle[-1], limit=1)):
            worker, pack = idle.pop(), best[0]
            free = max(now, free) + driver
            state.advance(Dispatched(pack=pack, worker=worker))
            heapq.heappush(ends, (free + costs.of(state.packs[pack]), next(number), pack, worker))
        now, _, pack, worker = heapq.heappop(ends)
        for key in state.packs[pack].keys:
            state.advance(Finished(key=key, worker=worker))
        state.advance(Ended(pack=pack))
        idle.append(worker)
    alone = [Pack(kind=s.kind, keys=(k,)) for k, s in plan.stages.items()]
    jobs = _jobs(plan, cut, costs, work=[costs.of(p) for p in cut])
    ideal = _jobs(plan, alone, costs, work=[costs.full(p.kind, slots=most) / most for p in alone])
    simple = max(_chain(jobs), sum(j.work for j in jobs) / gpus)
    result = Result(makespan=now, simple=simple, own=_least(jobs, gpus=gpus), any=_least(ideal, gpus=gpus))
    assert max(result.simple, result.own, result.any) <= result.makespan + 1e-6, "no schedule beats its bounds"
    return result


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A pack with unlimited GPUs, in seconds: before it can begin, its own, its GPU time, and after it has ended."""

    head: float
    itself: float
    work: float
    tail: float


def _jobs(plan: Plan, cut: Sequence[Pack], costs: Costs, *, work: Sequence[float]) -> list[_Job]:
    children = plan.children()
    head: list[float] = []
    tail: list[float] = []
    until: dict[str, float] = {}
    after: dict[str, float] = {}
    for pack in cut:  # parents come first in a plan
        head.append(max((until[p] for k in pack.keys for p in plan.stages[k].inputs), default=0.0))
        until.update(dict.fromkeys(pack.keys, head[-1] + costs.of(pack)))
    for pack in reversed(cut):
        tail.append(max((after[c] for k in pack.keys for c in children[k]), default=0.0))
        after.update(dict.fromkeys(pack.keys, tail[-1] + costs.of(pack)))
    parts = zip(cut, head, reversed(tail), work, strict=True)
    return [_Job(head=h, itself=costs.of(p), work=w, tail=t) for p, h, t, w in parts]


def _chain(jobs: Sequence[_Job]) -> float:
    return max(j.head + j.itself + j.tail for j in jobs)


def _least(jobs: Sequence[_Job], *, gpus: int) -> float:
    """Return a lower bound for all schedules (E. Fernandez and B. Bussell, IEEE Trans. Comput. C-22, 1973).

    All packs that cannot begin before ``head`` and have at least ``tail`` seconds of successors must run in between.
    """
    best = _chain(jobs)
    for head, tail in itertools.product({j.head for j in jobs}, {j.tail for j in jobs}):
        between = [j.work for j in jobs if j.head >= head and j.tail >= tail]
        if between:  # else no pack has both this head and this tail
            best = max(best, head + tail + sum(between) / gpus)
    return best


def main() -> None:
    """Print one JSON line for each number of GPUs and each pack size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slope", type=float, default=SLOPE)
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--driver-ms", type=float, default=1.5)
    given = parser.parse_args()
    plan = plan_of(contaminate=9, seeds=given.seeds)
    costs = Costs(alone=ALONE, slope=given.slope)
    for gpus in (2**i for i in range(10)):
        cuts = {str(size): packs(plan, size=size) for size in sorted({1, given.most})}
        cuts["auto"] = packs(plan, size=given.most, workers=gpus)
        for name, cut in cuts.items():
            result = simulate(plan, cut, gpus=gpus, costs=costs, most=given.most, driver=given.driver_ms / 1000)
            line = {"gpus": gpus, "pack": name, "packs": len(cut), "makespan_s": round(result.makespan, 1)}
            shares = {n: round(getattr(result, n) / result.makespan, 3) for n in ("simple", "own", "any")}
            print(json.dumps(line | shares), flush=True)


if __name__ == "__main__":
    main()
