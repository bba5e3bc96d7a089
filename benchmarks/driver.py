"""Measures the driver: planning, reading a finished store, and dispatching stages that do nothing on a local Ray.

``python -m benchmarks.driver plan|rescan|run|tune [--stages N] [--pack K] [--workers W]`` prints one JSON line.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.grids import plan_with

from xlharm.engine.executor import Executor, WorkerReply
from xlharm.engine.options import RunOptions
from xlharm.engine.progress import Snapshot
from xlharm.engine.ray import on_ray
from xlharm.engine.run import run_grid
from xlharm.engine.scheduler import Graph, State
from xlharm.plan.build import Plan
from xlharm.plan.packs import packs
from xlharm.plan.stage import Place
from xlharm.stages.job import PackJob
from xlharm.store.store import Store

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run one measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=sorted(MEASUREMENTS))
    parser.add_argument("--stages", type=int, default=1000)
    parser.add_argument("--pack", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", help="where stages are kept; default: a folder that is removed afterwards")
    given = parser.parse_args()
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # workers import the runner
    with tempfile.TemporaryDirectory() as scratch:
        given.store = given.store or scratch
        print(json.dumps({"what": given.what, "stages": given.stages, **MEASUREMENTS[given.what](given)}), flush=True)


def measure_plan(given: argparse.Namespace) -> dict[str, Any]:
    """Measure building a plan: cells, keys, the urgency of each stage, and packs."""
    plan, build = _timed(lambda: plan_with(given.stages))
    state, ready = _timed(lambda: State(Graph.of(plan), packs(plan, size=given.pack)))
    return {"planned": len(plan.stages), "build_s": build, "schedule_s": ready, "left": state.left}


def measure_rescan(given: argparse.Namespace) -> dict[str, Any]:
    """Measure a run on a finished store (``run --store`` fills it)."""
    plan = plan_with(given.stages)
    store = Store(given.store)
    done, listing = _timed(lambda: store.done(plan.stages))
    outcome, whole = _timed(
        lambda: run_grid(plan, store, RunOptions(pack=given.pack), on_progress=lambda _: None, start_executor=on_ray)
    )
    return {"done": len(done), "listing_s": listing, "run_again_s": whole, "ran": outcome.ran}


def measure_run(given: argparse.Namespace) -> dict[str, Any]:
    """Run stages that do nothing on Ray; measure the driver's own time, and its memory at a tenth and at the end."""
    plan, store = plan_with(given.stages), Store(given.store)
    memory, started = _Memory(), []

    def start(plan: Plan, store: Store, options: RunOptions) -> Executor:
        started.append(_Watched(on_ray(plan, store, options, runner="benchmarks.noop:Noop"), workers=given.workers))
        return started[0]

    options = RunOptions(pack=given.pack, workers=given.workers, device="cpu")
    outcome = run_grid(plan, store, options, on_progress=memory.sample, start_executor=start)
    watched, ran = started[0], max(outcome.ran, 1)
    return {
        "ran": outcome.ran,
        "pack": given.pack,
        "workers": given.workers,
        "loop_s": round(watched.wall, 2),
        "driver_cpu_ms_per_stage": round(1000 * watched.cpu / ran, 3),
        "wall_ms_per_stage": round(1000 * watched.wall / ran, 3),
        "commit_ms_per_stage": round(1000 * watched.committing / ran, 3),
        "beyond_workers_ms_per_stage": round(1000 * (watched.wall - watched.committing / given.workers) / ran, 3),
        "rss_mb_at_tenth": memory.at(0.1),
        "rss_mb_at_end": memory.at(1.0),
    }


def measure_tune(given: argparse.Namespace) -> dict[str, Any]:
    """Run equally many trials of Ray Tune that do nothing."""
    import ray
    from ray import tune

    ray.init(
        address="local", num_cpus=given.workers, include_dashboard=False, logging_level="ERROR", log_to_driver=False
    )
    tuner = tune.Tuner(
        _trial,
        param_space={"i": tune.grid_search(list(range(given.stages)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=given.workers, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(Path(given.store).absolute()), verbose=0),
    )
    cpu = time.process_time()
    results, wall = _timed(tuner.fit)
    return {
        "ran": len(results),
        "workers": given.workers,
        "loop_s": wall,
        "driver_cpu_ms_per_stage": round(1000 * (time.process_time() - cpu) / given.stages, 3),
        "wall_ms_per_stage": round(1000 * wall / given.stages, 3),
        "rss_mb_at_end": _rss(),
    }


def _trial(config: dict[str, int]) -> dict[str, int]:
    return {"i": config["i"]}


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "plan": measure_plan,
    "rescan": measure_rescan,
    "run": measure_run,
    "tune": measure_tune,
}


class _Watched:
    """The Ray executor with clocks that run from the first submitted pack to the last reply."""

    def __init__(self, inner: Executor, *, workers: int) -> None:
        self._inner = inner
        self._workers = workers
        self._began: tuple[float, float] | None = None
        self.wall = self.cpu = self.committing = 0.0

    def __getattr__(self, name: str) -> Any:
        """Return every other attribute of the executor."""
        return getattr(self._inner, name)

    def idle(self, place: Place) -> Sequence[str]:
        """Return no idle workers until all have started, because starting them is not measured here."""
        return self._inner.idle(place) if self._inner.size() == self._workers else ()

    def submit(self, job: PackJob, *, worker: str) -> None:
        """Start the clocks at the first pack."""
        self._began = self._began or (time.perf_counter(), time.process_time())
        self._inner.submit(job, worker=worker)

    def wait(self, *, timeout: float) -> Sequence[WorkerReply]:
        """Read the clocks at every reply."""
        replies = self._inner.wait(timeout=timeout)
        if replies and self._began:
            self.wall, self.cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
            self.committing += sum(r.seconds for reply in replies for r in reply.results)
        return replies


class _Memory:
    """The driver's resident memory in MB, by the share of finished stages."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []

    def sample(self, snapshot: Snapshot) -> None:
        """Take a sample."""
        self.samples.append((snapshot.done / snapshot.total, _rss()))

    def at(self, share: float) -> float:
        """Return the first sample at which ``share`` of the stages were finished, or the last sample."""
        return next((rss for done, rss in self.samples if done >= share), self.samples[-1][1] if self.samples else 0.0)


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = action()
    return result, round(time.perf_counter() - began, 3)


if __name__ == "__main__":
    main()
