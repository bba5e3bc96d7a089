"""One rank of a gang, started by test_ranks.py: runs a mini grid, or its stages of some kinds."""

import json
import os
import sys
from pathlib import Path

from xlharm.config.load import load_grid
from xlharm.corpus.finding import resolve
from xlharm.plan.build import build
from xlharm.plan.packs import packs
from xlharm.stages.job import PackJob, RunnerConfig
from xlharm.stages.runner import StageRunner
from xlharm.store.store import Store


def main() -> None:
    grid, store, rank, world, master, settings, *kinds = sys.argv[1:]
    spec = load_grid(Path(grid))
    plan = build(spec, sources=resolve(spec), dtype="float32")
    config = RunnerConfig(
        base=plan.sources.base, corpus=plan.sources.corpus.path, store_url=store, dtype="float32", device="cpu",
        rank=int(rank), world=int(world), master=master, slots=4, threads=1, **json.loads(settings),
    )  # fmt: skip
    runner = StageRunner(config)
    for pack in [p for p in packs(plan, size=4) if p.kind in kinds or not kinds]:
        stages = tuple(plan.stages[k] for k in pack.keys)
        job = PackJob(id=pack.id, kind=pack.kind, stages=stages, active=(True,) * len(stages))
        results = runner.run(job, report=lambda _: None)
        assert all(r.ok for r in results), results
    if runner._context.zero and (engine := runner._context._engine) is not None:
        offload = config.offload
        assert engine._engine.zero_optimization_stage() == runner._context.zero
        assert (engine._engine.zero_offload_param() is not None) == (offload in {"params", "both"})
        assert (engine._engine.zero_offload_optimizer() is not None) == (offload in {"optimizer", "both"})
    if runner._context.zero == 3:
        assert not any(p.numel() for p in runner._context.model.parameters())  # nothing of the base stays gathered
    assert int(rank) or len(Store(store).done(plan.stages)) == len(plan.stages)


main()
sys.stdout.flush()
os._exit(0)  # as Ray ends its workers: torch's threads may abort an orderly exit ("terminate called …")
