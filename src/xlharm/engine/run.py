"""Run a grid: what is in the store is left alone, what is missing is computed, nothing is lost."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from xlharm.engine.catalog import damaged, measured_seconds
from xlharm.engine.driver import Driver
from xlharm.engine.executor import Executor
from xlharm.engine.limits import Budget
from xlharm.engine.options import RunOptions
from xlharm.engine.progress import Meter, Snapshot
from xlharm.engine.scheduler import Graph, State
from xlharm.engine.signals import interruptions
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.plan.packs import packs
from xlharm.plan.stage import Kind
from xlharm.remote.endpoint import TEMPORARY
from xlharm.store.lease import Leases
from xlharm.store.record import Failure
from xlharm.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run.

    Attributes:
        ran: stages this run finished.
        done: stages of the plan that are in the store.
        total: stages of the plan.
        failures: why stages have no result, by key.
        dead: stages that failed, and those that could not run because of them.
        interrupted: somebody stopped it.
        limit: the option that stopped it, or None.
        seconds_left: that one worker would take for the rest, estimated; told of a run that was stopped.
        seconds: wall time.
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

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some cells failed or a limit came first, 130 interrupted."""
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
) -> Outcome:
    """Compute what is missing of a plan.

    Args:
        plan: what is wanted.
        store: what there is.
        options: how to run.
        on_progress: called about twice a second.
        start_executor: makes what runs packs; called only when something is missing.

    Raises:
        UserError: the run cannot go on as it is.
        EngineError: workers do not start.
    """
    began = time.monotonic()
    seconds = measured_seconds(store, plan)
    state = _begin(plan, store, options, seconds=seconds)
    if not state.left:
        return _outcome(plan, store, state, began=began)
    meter = Meter(plan=plan, began=began, seconds=seconds)
    with interruptions() as stop, Leases(store) as leases:
        if leases.trouble:
            meter.note(f"this store has no leases, so run one driver at a time on it ({leases.trouble})")
        executor = start_executor(plan, store, options)
        try:
            stop.install()  # starting Ray may have put its own handlers in place
            driver = Driver(
                plan=plan, store=store, state=state, executor=executor, leases=leases, meter=meter,
                on_progress=on_progress, budget=_budget(options, began=began),
            )  # fmt: skip
            driver.loop(stopped=lambda: stop.hit)
        finally:
            executor.close()
    outcome = _outcome(plan, store, state, began=began)
    limited = state.left > 0 and not stop.hit
    return replace(
        outcome,
        ran=driver.ran,
        interrupted=state.left > 0 and stop.hit,
        limit=driver.budget.binding() if limited else None,
        seconds_left=meter.seconds_left(state),
    )


def _budget(options: RunOptions, *, began: float) -> Budget:
    """Turn the wall clock's deadline into one of the clock that never jumps."""
    until = None if options.deadline is None else time.monotonic() + options.deadline - time.time()
    return Budget(hours=options.max_hours, deadline=until, began=began)


def _begin(plan: Plan, store: Store, options: RunOptions, *, seconds: Mapping[Kind, float]) -> State:
    """Read the store: what is finished and sound, and what failed for good."""
    done = store.done(plan.stages)
    for key in damaged(store, plan, done):
        store.quarantine(plan.stages[key].kind, key)
        done.discard(key)
    if options.retry_failed:
        for key in [k for k in done if plan.stages[k].kind == "judge" and _missing_for_now(store, k)]:
            store.quarantine("judge", key)
            done.discard(key)
    failures = store.failures({k: s for k, s in plan.stages.items() if k not in done})
    final = [k for k, f in failures.items() if f.final and not options.retry_failed]
    for key in failures.keys() - set(final):
        store.clear_failure(key)
    return State(
        Graph.of(plan, seconds=seconds), packs(plan, size=options.pack, workers=options.spread), done=done, failed=final
    )


def _missing_for_now(store: Store, key: str) -> bool:
    """Whether a judge stage lacks verdicts that its endpoint may give another day."""
    try:
        missing = store.record("judge", key).metrics["missing"]
    except (CorruptArtifactError, KeyError):
        return False
    return any(problem in missing for problem in TEMPORARY)


def _outcome(plan: Plan, store: Store, state: State, *, began: float) -> Outcome:
    return Outcome(
        ran=0,
        done=len(state.done),
        total=len(plan.stages),
        failures=store.failures({k: plan.stages[k] for k in state.dead}),
        dead=len(state.dead),
        seconds=time.monotonic() - began,
    )
