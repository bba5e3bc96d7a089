"""The engine on Ray: cluster, workers, executor."""

from xlharm.engine.executor import RUNNER, Executor
from xlharm.engine.options import RunOptions
from xlharm.plan.build import Plan
from xlharm.store.store import Store


def on_ray(plan: Plan, store: Store, options: RunOptions, *, runner: str = RUNNER) -> Executor:
    """Connect to Ray and start workers: the executor of `xlharm run`. Imports Ray only when it is called.

    Args:
        plan: the plan to run.
        store: where results go.
        options: how to run.
        runner: the runner's class, as ``module:name``.

    Raises:
        UserError: there is no such cluster or device, or options exclude each other.
        EngineError: a local Ray does not start.
    """
    from xlharm.engine.ray.cluster import prepare

    prepare(options.address)  # before Ray is imported; a finished grid never imports it
    from xlharm.engine.ray.executor import start

    return start(plan, store, options, runner=runner)
