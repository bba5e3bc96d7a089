"""Rates and the time to go."""

import pytest

from tests.engine.worlds import PLAN
from tests.plan.worlds import grid_of, plan_of
from xlharm.engine.events import Dispatched, Ended, Finished
from xlharm.engine.progress import Meter
from xlharm.engine.scheduler import Graph, State
from xlharm.plan.build import Plan
from xlharm.plan.packs import packs
from xlharm.plan.stage import Kind
from xlharm.stages.job import Progress

SECONDS: dict[Kind, float] = {"contaminate": 10.0, "sft": 1.0, "unlearn": 2.0, "evaluate": 0.5}


def by_key(plan: Plan, seconds: dict[Kind, float]) -> dict[str, float]:
    return {key: seconds[stage.kind] for key, stage in plan.stages.items()}


def test_a_run_is_told() -> None:
    state = State(Graph.of(PLAN), packs(PLAN, size=3))
    seconds = by_key(PLAN, SECONDS)
    meter = Meter(plan=PLAN, began=100.0, seconds=seconds)
    total = sum(seconds.values())
    start = meter.snapshot(state, {}, workers=2, now=100.0)
    assert start.eta == pytest.approx(max(total / 2, 30.0))
    assert (start.done, start.running, start.left, start.tokens_per_second) == (0, 0, len(PLAN.stages), None)
    assert meter.expected == start.eta
    assert meter.snapshot(state, {}, workers=0, now=100.5).eta is None

    pack = state.ready()[0]
    state.advance(Dispatched(pack=pack, worker="w"))
    meter.started(pack, now=101.0)
    meter.note("something happened")
    middle = meter.snapshot(state, {pack: Progress(pack=pack, step=2, steps=8, tokens=500)}, workers=2, now=110.0)
    assert middle.tokens_per_second == pytest.approx(50.0)
    assert middle.eta == pytest.approx(max(21.0, (total - 9.0) / 2))
    later = meter.snapshot(state, {pack: Progress(pack=pack, step=3, steps=8, tokens=750)}, workers=2, now=130.0)
    assert later.eta == pytest.approx(5 * 20.0)  # a step in 20 seconds, and five to go: no matter what was expected
    assert middle.notes == ("something happened",)
    assert [(p.slots, p.step, p.steps, p.worker) for p in middle.packs] == [(3, 2, 8, "w")]
    assert middle.packs[0].keys == tuple(key[:16] for key in state.missing(pack))
    assert middle.pace is None
    assert middle.running == 3

    for key in state.packs[pack].keys:
        state.advance(Finished(key=key))
    meter.ended(state.packs[pack], tokens=dict.fromkeys(state.packs[pack].keys[:2], 400), whole=True, now=111.0)
    state.advance(Ended(pack=pack))
    end = meter.snapshot(state, {}, workers=2, now=120.0)
    assert end.tokens_per_second == pytest.approx(40.0)
    assert end.notes == ()
    assert (end.done, end.elapsed) == (3, 20.0)
    kind = state.packs[pack].kind
    assert end.pace == pytest.approx(10.0 / (2 * SECONDS[kind]))  # two of its stages, in ten seconds


def test_judgements_by_an_endpoint_take_their_own_time() -> None:
    judge = {"kind": "chat", "url": "http://127.0.0.1:9/v1", "model": "m"}
    plan = plan_of(grid_of(languages=["en"], judges={"strict": judge}))
    seconds: dict[Kind, float] = {"contaminate": 1.0, "sft": 1.0, "unlearn": 1.0, "evaluate": 1.0, "judge": 90.0}
    meter = Meter(plan=plan, began=0.0, seconds=by_key(plan, seconds))
    state = State(Graph.of(plan), packs(plan, size=1))
    assert meter.snapshot(state, {}, workers=1, now=0.0).eta == 90.0
    done = [k for k, s in plan.stages.items() if s.kind != "judge"]
    last = State(Graph.of(plan), packs(plan, size=1), done=done)
    assert meter.snapshot(last, {}, workers=0, now=0.0).eta == 90.0  # no worker with the base is needed any more


def test_the_time_to_go_is_corrected_by_what_whole_packs_took() -> None:
    state = State(Graph.of(PLAN), packs(PLAN, size=3))
    meter = Meter(plan=PLAN, began=0.0, seconds=by_key(PLAN, {**dict.fromkeys(SECONDS, 0.0), "unlearn": 2.0}))
    unlearn = [p for p in state.packs.values() if p.kind == "unlearn"]
    expected = 2.0 * sum(len(p.keys) for p in unlearn)
    assert meter.snapshot(state, {}, workers=1, now=0.0).eta == pytest.approx(expected)
    for took, whole in [(4.0, True), (8.0, True), (100.0, False)]:  # three stages took 4 and 8 seconds instead of 6
        meter.started(unlearn[0].id, now=10.0)
        meter.ended(unlearn[0], tokens=dict.fromkeys(unlearn[0].keys, 1), whole=whole, now=10.0 + took)
    assert len(unlearn[0].keys) == 3
    assert meter.snapshot(state, {}, workers=1, now=200.0).eta == pytest.approx(expected * 12.0 / 12.0)
    meter.started(unlearn[0].id, now=10.0)
    meter.ended(unlearn[0], tokens=dict.fromkeys(unlearn[0].keys, 1), whole=True, now=22.0)
    assert meter.snapshot(state, {}, workers=1, now=200.0).eta == pytest.approx(expected * 24.0 / 18.0)


def test_start_up_is_counted_apart_from_stages() -> None:
    state = State(Graph.of(PLAN), packs(PLAN, size=3))
    meter = Meter(plan=PLAN, began=100.0, seconds=by_key(PLAN, SECONDS))
    total = sum(by_key(PLAN, SECONDS).values())
    pack = state.ready()[0]
    state.advance(Dispatched(pack=pack, worker="w"))
    meter.started(pack, now=101.0)  # handed to a worker that still loads the base
    assert meter.snapshot(state, {}, workers=0, now=110.0).eta is None
    assert (meter.start, meter.expected) == (None, None)
    meter.snapshot(state, {}, workers=1, now=125.0)
    assert (meter.start, meter.expected) == (25.0, pytest.approx(total))  # the pack begins now, not at 101
    meter.snapshot(state, {}, workers=2, now=130.0)
    for key in state.packs[pack].keys:
        state.advance(Finished(key=key))
    tokens = dict.fromkeys(state.packs[pack].keys, 10)
    meter.ended(state.packs[pack], tokens=tokens, whole=True, now=175.0, prepared=20.0)  # 30 s of work, as expected
    state.advance(Ended(pack=pack))
    assert meter.start == 25.0 + 20.0 / 2
    assert meter.snapshot(state, {}, workers=1, now=175.0).eta == pytest.approx(total - 30.0)
