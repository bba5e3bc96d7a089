"""The engine on Ray: cluster, workers, executor."""

from xlharm.engine.executor import RUNNER, Executor
from xlharm.engine.options import RunOptions
from xlharm.plan.build import Plan
from xlharm.store.store import Store


def on_ray(plan: Plan, store: Store, options: RunOptions, *, runner: str = RUNNER) -> Executor:
    """Connect to Ray and start workers: the executor of `xlharm run`. Imports Ray only when it is called.

    Args:
        plan: what will run.
        store: where results go.
        options: how to run.
        runner: dotted path of the runner's class.

    Raises:
        UserError: no such cluster, no such device, options that exclude each other.
    """
    from xlharm.engine.ray.cluster import prepare

    prepare(options.address)  # before anything imports Ray, which a finished grid does without
    from xlharm.engine.ray.executor import start

    return start(plan, store, options, runner=runner)
