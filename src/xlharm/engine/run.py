"""Run a grid: compute the stages that the store lacks."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from xlharm.engine.catalog import set_damage_aside
from xlharm.engine.driver import Driver
from xlharm.engine.estimates import clocks_of, corrected, expected_seconds, remember
from xlharm.engine.executor import Executor
from xlharm.engine.limits import Budget
from xlharm.engine.live import Announcer
from xlharm.engine.options import RunOptions
from xlharm.engine.progress import Meter, Snapshot
from xlharm.engine.scheduler import Graph, State
from xlharm.engine.signals import interruptions
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.plan.packs import packs
from xlharm.remote.endpoint import TEMPORARY
from xlharm.store.checkpoint import Checkpoints, packs_with_checkpoints
from xlharm.store.lease import Leases
from xlharm.store.leftovers import sweep
from xlharm.store.live import LiveFile
from xlharm.store.record import Failure
from xlharm.store.store import Store


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """The result of a run.

    Attributes:
        ran: number of stages that this run finished.
        done: number of the plan's stages that are in the store.
        total: number of the plan's stages.
        failures: why stages have no result, by key.
        dead: number of stages that failed or could not run because an ancestor failed.
        interrupted: whether a signal stopped the run.
        limit: the option whose limit stopped the run, or None.
        seconds_left: estimated time that one worker would need for the rest.
        seconds: wall time.
        expected: wall time as it was estimated when the first worker was ready; None when none was.
        start: seconds of it that no stage took: until the first worker was ready, and once in each worker.
        expected_start: these as they were estimated before.
    """

    ran: int
    done: int
    total: int
    failures: dict[str, Failure] = field(default_factory=dict)
    dead: int = 0
    interrupted: bool = False
    limit: str | None = None
    seconds_left: float = 0.0
    seconds: float = 0.0
    expected: float | None = None
    start: float | None = None
    expected_start: float = 0.0

    @property
    def exit_code(self) -> int:
        """0: all done; 1: some cells failed, or a limit came first; 130: interrupted."""
        if self.interrupted:
            return 130
        return 0 if self.done == self.total else 1


ExecutorFactory = Callable[[Plan, Store, RunOptions], Executor]


def run_grid(
    plan: Plan,
    store: Store,
    options: RunOptions,
    *,
    on_progress: Callable[[Snapshot], None],
    start_executor: ExecutorFactory,
) -> RunOutcome:
    """Compute the stages of a plan that the store lacks.

    Args:
        plan: the stages to compute.
        store: holds finished stages and receives new ones.
        options: how to run.
        on_progress: called about twice a second.
        start_executor: returns the executor; called only when a stage is missing.

    Raises:
        UserError: the user must act before the run can continue.
        EngineError: workers do not start.
    """
    began = time.monotonic()
    done, damage = set_damage_aside(store, plan)
    seconds, clocks, start = dict.fromkeys(plan.stages, 0.0), {}, 0.0
    if len(done) < len(plan.stages):
        clocks = clocks_of(plan)
        clock, _, _ = corrected(clocks, plan, store)
        seconds, start = expected_seconds(plan, clock, pack=options.pack), clock.start
    state = _begin(plan, store, options, done=done, seconds=seconds)
    sweep(store)
    _drop_finished(store, state)
    if not state.left:
        return _outcome(plan, store, state, began=began)
    meter = Meter(plan=plan, began=began, seconds=seconds)
    for line in damage:
        meter.note(line)
    with interruptions() as stop, Leases(store) as leases, LiveFile(store, leases.token) as live:
        if leases.trouble:
            meter.note(f"this store cannot hold leases: run only one driver on it at a time ({leases.trouble})")
        try:
            executor = start_executor(plan, store, options)
        except SystemExit:  # by Ray's handler of SIGTERM, which replaces ours while Ray starts
            raise KeyboardInterrupt from None
        try:
            stop.install()  # again
            driver = Driver(
                plan=plan, store=store, state=state, executor=executor, leases=leases, meter=meter,
                on_progress=Announcer(plan.grid.name, live, on_progress), budget=_budget(options, began=began),
            )  # fmt: skip
            driver.loop(stopped=lambda: stop.requested)
        finally:
            executor.close()
        _drop_finished(store, state)
    if clocks:  # none where only verdicts were asked for again
        remember(clocks, plan, store, start=meter.start)
    outcome = _outcome(plan, store, state, began=began)
    limited = state.left > 0 and not stop.requested
    return replace(
        outcome,
        ran=driver.ran,
        interrupted=state.left > 0 and stop.requested,
        limit=driver.budget.binding() if limited else None,
        seconds_left=meter.seconds_left(state),
        expected=None if meter.expected is None else start + meter.expected,
        start=meter.start,
        expected_start=start,
    )


def _budget(options: RunOptions, *, began: float) -> Budget:
    """Convert the wall-clock deadline to ``time.monotonic``, which clock changes do not affect."""
    until = None if options.deadline is None else time.monotonic() + options.deadline - time.time()
    return Budget(hours=options.max_hours, deadline=until, began=began)


def _begin(plan: Plan, store: Store, options: RunOptions, *, done: set[str], seconds: Mapping[str, float]) -> State:
    """Return the plan's state in the store; forget failures and verdicts that may be tried again."""
    if options.retry_failed:
        for key in [k for k in done if plan.stages[k].kind == "judge" and _lacks_verdicts(store, k)]:
            store.unfinish("judge", key)
            done.discard(key)
    failures = store.failures({k: s for k, s in plan.stages.items() if k not in done})
    final = [k for k, f in failures.items() if f.final and not options.retry_failed]
    for key in failures.keys() - set(final):
        store.clear_failure(key)
    return State(
        Graph.of(plan, seconds=seconds), packs(plan, size=options.pack, workers=options.spread), done=done, failed=final
    )


def _drop_finished(store: Store, state: State) -> None:
    """Delete checkpoints of packs that are done: a worker that is killed after its last commit cannot do that."""
    with contextlib.suppress(OSError):
        for pack in packs_with_checkpoints(store) & state.packs.keys():
            if state.done.issuperset(state.packs[pack].keys):
                Checkpoints(store, pack).drop()


def _lacks_verdicts(store: Store, key: str) -> bool:
    """Whether a judge stage lacks verdicts for a reason that may pass, such as an unavailable endpoint."""
    try:
        missing = store.record("judge", key).metrics["missing"]
    except (CorruptArtifactError, KeyError):
        return False
    return any(problem in missing for problem in TEMPORARY)


def _outcome(plan: Plan, store: Store, state: State, *, began: float) -> RunOutcome:
    return RunOutcome(
        ran=0,
        done=len(state.done),
        total=len(plan.stages),
        failures=store.failures({k: plan.stages[k] for k in state.dead}),
        dead=len(state.dead),
        seconds=time.monotonic() - began,
    )
