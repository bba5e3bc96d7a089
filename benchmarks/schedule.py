"""How well the scheduler fills 1 … 512 GPUs: the engine's own reducer under simulated clocks.

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
# packs of 3, 3 and 6, and 39 s for 18 packs of 3 or 6 evaluations, divided by what those slots cost at SLOPE.
ALONE: dict[Kind, float] = {"contaminate": 4.2, "sft": 0.6, "unlearn": 2.1, "evaluate": 1.6}
# What each further slot adds to a pack's time, as a share of a stage alone. An 8B base on an H100, one sequence each:
# 0.227 s a step alone, 0.369 s for 8 stacked adapters: (0.369 / 0.227 - 1) / 7. At 1.0 packs save nothing.
SLOPE = 0.09


@dataclass(frozen=True, kw_only=True)
class Costs:
    """How long packs take: ``alone[kind] * (1 + slope * (slots - 1))`` seconds."""

    alone: Mapping[Kind, float]
    slope: float

    def of(self, kind: Kind, *, slots: int) -> float:
        """Return the seconds of a pack."""
        return self.alone[kind] * (1 + self.slope * (slots - 1))


@dataclass(frozen=True, kw_only=True)
class Result:
    """A simulated run.

    Attributes:
        makespan: seconds until the last pack ended.
        own: the least that these packs need: their longest chain, or their work spread evenly.
        any: the least that the grid needs however it is cut into packs: its longest chain with every stage alone,
            or its work in full packs spread evenly. Both at once cannot always be had.
    """

    makespan: float
    own: float
    any: float


def simulate(plan: Plan, cut: Sequence[Pack], *, gpus: int, costs: Costs, most: int, driver: float) -> Result:
    """Run a plan on ``gpus`` workers of equal speed; the driver hands out one pack every ``driver`` seconds."""
    graph = Graph.of(plan, seconds=costs.alone)
    state = State(graph, cut)
    idle = [f"w{i}" for i in reversed(range(gpus))]
    ends: list[tuple[float, int, str, str]] = []
    number = itertools.count()
    now = free = 0.0
    while state.left:
        while idle and (best := state.ready(worker=idle[-1], limit=1)):
            worker, pack = idle.pop(), best[0]
            free = max(now, free) + driver
            took = costs.of(state.packs[pack].kind, slots=len(state.packs[pack].keys))
            state.advance(Dispatched(pack=pack, worker=worker))
            heapq.heappush(ends, (free + took, next(number), pack, worker))
        now, _, pack, worker = heapq.heappop(ends)
        for key in state.packs[pack].keys:
            state.advance(Finished(key=key, worker=worker))
        state.advance(Ended(pack=pack))
        idle.append(worker)
    own = max(_chain(plan, cut, costs), sum(costs.of(p.kind, slots=len(p.keys)) for p in cut) / gpus)
    alone = [Pack(kind=s.kind, keys=(k,)) for k, s in plan.stages.items()]
    full = sum(costs.of(s.kind, slots=most) / most for s in plan.stages.values())
    return Result(makespan=now, own=own, any=max(_chain(plan, alone, costs), full / gpus))


def _chain(plan: Plan, cut: Sequence[Pack], costs: Costs) -> float:
    """Return the seconds of the longest chain of packs; parents come first in a cut."""
    until: dict[str, float] = {}
    for pack in cut:
        begin = max((until[p] for k in pack.keys for p in plan.stages[k].inputs), default=0.0)
        until.update(dict.fromkeys(pack.keys, begin + costs.of(pack.kind, slots=len(pack.keys))))
    return max(until.values())


def main() -> None:
    """Print one JSON line for each number of GPUs and way to cut."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slope", type=float, default=SLOPE)
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--driver-ms", type=float, default=1.5)
    given = parser.parse_args()
    plan = plan_of(contaminate=9, seeds=given.seeds)
    costs = Costs(alone=ALONE, slope=given.slope)
    for gpus in (2**i for i in range(10)):
        for size in sorted({1, 2, 4, given.most}):
            cut = packs(plan, size=size)
            found = simulate(plan, cut, gpus=gpus, costs=costs, most=given.most, driver=given.driver_ms / 1000)
            told = {"gpus": gpus, "size": size, "packs": len(cut), "makespan_s": round(found.makespan, 1)}
            shares = {"of_own_bound": found.own / found.makespan, "of_any_bound": found.any / found.makespan}
            print(json.dumps(told | {k: round(v, 3) for k, v in shares.items()}), flush=True)


if __name__ == "__main__":
    main()
