"""A driver process for tests: ``python -m tests.faults.drive STORE RUNNER [option=value …]``.

An option in capitals is a constant of the executor's module and of ``health``.
"""

import importlib
import json
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.conftest import plan_of
from tests.engine.worlds import PLAN
from tests.faults.campaign import troubles
from xlharm.engine.executor import Executor
from xlharm.engine.options import RunOptions
from xlharm.engine.ray.cluster import prepare
from xlharm.engine.run import run_grid
from xlharm.plan.build import Plan
from xlharm.store.store import Store


def main() -> None:
    url, runner, *settings = sys.argv[1:]
    runner = f"tests.faults.{runner if ':' in runner else f'runners:{runner}'}"
    given = {name: json.loads(value) for name, value in (s.split("=", 1) for s in settings)}
    options = {name: value for name, value in given.items() if not name.isupper()}
    constants = {name: value for name, value in given.items() if name.isupper()}

    grid, name = options.pop("grid", None), options.pop("plan", None)
    plan = plan_of(YAML(typ="safe").load(Path(grid))) if grid else PLAN
    if name is not None:
        troubles.install("driver")
        plan = importlib.import_module("tests.faults.campaign.reckoning").PLANS[name]

    def start(plan: Plan, store: Store, given: RunOptions) -> Executor:
        prepare(given.address)  # before anything imports Ray
        from xlharm.engine.ray import executor as ray_executor
        from xlharm.engine.ray import health

        for name, value in constants.items():
            for module in (ray_executor, health):
                if hasattr(module, name):
                    setattr(module, name, value)
        return ray_executor.start(plan, store, given, runner=runner)

    outcome = run_grid(
        plan,
        Store(url),
        RunOptions(**{"pack": 3, "device": "cpu", **options}),
        on_progress=lambda s: [print(note, flush=True) for note in s.notes] and None,
        start_executor=start,
    )
    print(json.dumps({"ran": outcome.ran, "done": outcome.done, "exit": outcome.exit_code}), flush=True)
    sys.exit(outcome.exit_code)


main()
