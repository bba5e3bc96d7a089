"""A search in a process of its own: ``python -m tests.faults.searching STORE [option=value …]``.

Nothing is trained: OF falls with the rate and the steps, QR is lost where both are high, and some rates are trouble.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from tests.analysis.worlds import commit_evaluation, commit_training
from tests.faults.runners import Tracing
from tests.plan.worlds import sources
from xlharm.config.load import parse_grid
from xlharm.engine.options import RunOptions
from xlharm.errors import UserError
from xlharm.plan.tuning import Tuning
from xlharm.stages.job import PackJob, Report, StageResult
from xlharm.store.ledger import load_search
from xlharm.store.store import Store

CRASHES, BROKEN, WRONG = (
    0.3,
    0.4,
    0.5,
)  # rates: kills its process once; has no valid result; a setting that does not fit


class Pretending(Tracing):
    """Commits numbers that depend on the rate and the steps."""

    seconds = 0.0

    def run(self, job: PackJob, *, report: Report, stopping: Callable[[], bool] = lambda: False) -> list[StageResult]:
        (stage,) = job.stages
        rate, steps = self._trained(stage) if stage.kind == "evaluate" else (None, None)
        if stage.kind == "unlearn":
            rate = stage.spec["training"]["learning_rate"]
            if rate == CRASHES and not (self.store.local / "crashed").exists():
                (self.store.local / "crashed").touch()
                os.kill(os.getpid(), 9)
            if rate == BROKEN:
                return [StageResult(key=stage.key, ok=False, reason="nan", message="the loss is not a number")]
            if rate == WRONG:
                raise UserError("layer: the base has no decoder layer 9")
        if stage.kind != "evaluate":
            commit_training(self.store, stage)
        elif rate is None or steps is None:
            commit_evaluation(self.store, stage, of=0.8, qr=0.9, n=50)
        else:
            moved = rate * steps
            commit_evaluation(self.store, stage, of=max(0.8 - moved, 0.0), qr=0.9 if moved < 1.0 else 0.4, n=50)
        self._trace(f"{stage.kind} {stage.key} {os.getpid()}")
        return [StageResult(key=stage.key, ok=True)]

    def _trained(self, stage: Any) -> tuple[float | None, int | None]:
        kind = self.store.kind_of(stage.inputs[0])
        if kind != "unlearn":
            return None, None
        training = self.store.record(kind, stage.inputs[0]).identity["spec"]["training"]
        return training["learning_rate"], training["steps"]


def tuning_of(search: str) -> Tuning:
    grid = {
        "name": "g", "base": "tiny-base", "corpus": "tinyworld", "languages": ["en", "de"], "contaminate": ["de"],
        "unlearn": {"none": [], "tuned": ["en", "de"]}, "methods": {"npo": {"objective": "npo", "steps": 3}},
    }  # fmt: skip
    return Tuning.of(
        parse_grid(grid, name="grid.yaml"), sources=sources(), dtype="float32", search=[search, "steps=1,3"],
        halving=True,
    )  # fmt: skip


def main() -> None:
    store = Store(sys.argv[1])
    options = {name: json.loads(value) for name, value in (s.split("=", 1) for s in sys.argv[2:])}
    tuning = tuning_of(options["search"])

    from functools import partial

    from xlharm.engine.ray.cluster import prepare

    prepare(None)
    from xlharm.analysis.trials import score
    from xlharm.engine.tune.search import Search, run_search

    search = Search(
        state=load_search(store, tuning, algorithm=options["algorithm"]), store=store, trials=options["trials"],
        score=partial(score, fall=20.0), options=RunOptions(pack=1, workers=options["workers"], device="cpu"),
        runner="tests.faults.searching:Pretending",
    )  # fmt: skip
    result = run_search(search, on_result=lambda *result: None)
    print(json.dumps({"finished": result}), flush=True)


if __name__ == "__main__":
    main()
