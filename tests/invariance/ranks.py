"""Ranks of a gang, as processes of their own: each runs a mini grid, or its stages of some kinds.

They are forked from a server that has the heavy packages loaded: loading them takes a rank longer than its work. The
server has no programs on its path: nothing may need a compiler.
"""

import multiprocessing
import os
import socket
import sys
import traceback
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from xlharm.config.load import load_grid
from xlharm.corpus.finding import resolve
from xlharm.plan.build import build
from xlharm.plan.packs import packs
from xlharm.stages.job import PackJob, RunnerConfig
from xlharm.stages.runner import StageRunner
from xlharm.store.store import Store

_SECONDS = 500  # a busy machine's


def server(folder: Path) -> ForkServerContext:
    """Start the server; it ends with this process."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "tests.invariance.loaded"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
        patch.setenv("PATH", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("DS_ACCELERATOR", "cpu")
        forkserver.ensure_running()
    return context


def run_ranks(
    grid: dict[str, Any], folder: Path, *, context: ForkServerContext, world: int, kinds: tuple[str, ...] = (),
    **config: Any,
) -> Store:  # fmt: skip
    """Run a grid on ``world`` ranks and return its store."""
    path = folder / "grid.yaml"
    YAML(typ="safe").dump(grid, path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{probe.getsockname()[1]}"
    store = str(folder / "store")
    ranks = []
    for rank in range(world):
        settings = {**config, "store_url": store, "rank": rank, "world": world, "master": master}
        ranks.append(context.Process(target=_rank, args=(path, kinds, settings, folder / f"rank{rank}.log")))
    try:
        for process in ranks:
            process.start()
        for rank, process in enumerate(ranks):
            process.join(_SECONDS)
            assert process.exitcode == 0, (folder / f"rank{rank}.log").read_text()[-3000:]
    finally:
        for process in ranks:
            process.kill()
            process.join()
    return Store(store)


def _rank(path: Path, kinds: tuple[str, ...], settings: dict[str, Any], log: Path) -> None:
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    code = 1
    try:
        _work(path, kinds, settings)
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # as Ray ends its workers: torch's threads may abort an orderly exit ("terminate called …")


def _work(path: Path, kinds: tuple[str, ...], settings: dict[str, Any]) -> None:
    spec = load_grid(path)
    plan = build(spec, sources=resolve(spec), dtype="float32")
    config = RunnerConfig(
        base=plan.sources.base, corpus=plan.sources.corpus.path, dtype="float32", device="cpu", slots=4, threads=1,
        **settings,
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
    assert config.rank or len(Store(config.store_url).done(plan.stages)) == len(plan.stages)
