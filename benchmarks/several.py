"""Measures several GPUs of one machine: `python -m benchmarks.several WORK [PART …]`; every part by default.

workers   a grid on 1, 2, … workers: makespan and its lower bounds; the table must be the same for all numbers
ranks     stages on 1, 2, … data-parallel ranks (ZeRO stage 2 from two ranks on): the losses must be the same
gang      ZeRO stage 3 on all GPUs, with less memory each than the base model needs; one rank is killed in a stage
killed    one worker of several is killed while it computes: the others continue, and the table must be the same

The grid is the quickstart's, or with ``--slice FOLDER`` the one that ``benchmarks.paper_slice`` prepared there, whose
base model the gang then trains. ``--device cpu`` runs everything without a GPU.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmarks.timed import LOG, read_log

from xlharm.analysis.results import GridResults
from xlharm.analysis.table import render
from xlharm.config.load import load_grid
from xlharm.corpus.finding import resolve
from xlharm.engine.options import RunOptions
from xlharm.engine.progress import Snapshot
from xlharm.engine.ray import on_ray
from xlharm.engine.run import run_grid
from xlharm.plan.build import Plan, build
from xlharm.store.store import Store

ROOT = Path(__file__).parents[1]
PARTS = ("workers", "ranks", "gang", "killed")


def main() -> None:
    """Run the parts and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], default=[])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--most", type=int, help="GPUs; default: all")
    parser.add_argument("--slice", type=Path, help="folder of a prepared benchmarks.paper_slice")
    parser.add_argument("--pack", type=int, default=3)
    parser.add_argument("--gib", type=float, default=12.0, help="of each card that the gang may use")
    parser.add_argument("--dies", type=int, default=10, help="step of contaminating after which a rank is killed")
    given = parser.parse_args()
    given.most = given.most or torch.cuda.device_count()
    given.calm = None
    given.grid = given.slice / "grid.yaml" if given.slice else ROOT / "grid" / "quickstart.yaml"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    for part in given.parts or PARTS:
        for line in globals()[f"part_{part}"](given):
            print(json.dumps({"part": part, **line}), flush=True)


@dataclass(frozen=True)
class Ran:
    """A finished run: its plan, store, seconds, the log of its packs, and its results as CSV."""

    plan: Plan
    store: Store
    seconds: float
    packs: list[dict[str, Any]]
    csv: str


def ran(
    given: argparse.Namespace, name: str, *, grid: Path, orders: Mapping[str, str] | None = None, **options: Any
) -> Ran:
    """Run a grid with the timed runner in a new process, so that each run starts its own Ray."""
    folder = given.work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run_options = {"pack": given.pack, "device": given.device, **options}
    command = [
        sys.executable,
        "-c",
        "from benchmarks.several import child; child()",
        grid,
        folder,
        json.dumps(run_options),
    ]
    caches = dict.fromkeys(("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"), str(folder / "compiled"))
    environment = {**os.environ, **caches, **(orders or {})}  # no run uses compiled code of another
    subprocess.run([str(c) for c in command], env=environment, check=True)
    plan, store = planned(grid, folder, given.device)
    seconds = float((folder / "seconds").read_text())
    csv = render(GridResults(plan, store).table, form="csv").decode()
    (folder / "table.csv").write_text(csv)
    return Ran(plan, store, seconds, read_log(folder), csv)


def planned(grid: Path, folder: Path, device: str) -> tuple[Plan, Store]:
    """Return a grid's plan, and the store of a run."""
    spec = load_grid(grid)
    dtype = "bfloat16" if device == "cuda" else "float32"
    return build(spec, sources=resolve(spec, grid_path=grid), dtype=dtype), Store(str(folder / "store"))


def child() -> None:
    """Run one grid."""
    grid, folder, options = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    plan, store = planned(grid, folder, options["device"])

    start = partial(on_ray, runner="benchmarks.timed:Timed")
    outcome = run_grid(plan, store, RunOptions(**options), on_progress=_Now(folder.name), start_executor=start)
    if outcome.done < outcome.total:
        raise SystemExit(f"{outcome.done} of {outcome.total} stages: {outcome.failures}")
    (folder / "seconds").write_text(str(outcome.seconds))


class _Now:
    """Prints the progress of a run every ten seconds, and its notes at once."""

    def __init__(self, name: str) -> None:
        self._name, self._printed = name, time.monotonic()

    def __call__(self, now: Snapshot) -> None:
        if now.notes or time.monotonic() - self._printed > 10:
            self._printed = time.monotonic()
            line = f"{self._name}, {now.elapsed:.0f} s: {now.done} of {now.total}, {now.workers} workers"
            print(". ".join([line, *now.notes]), file=sys.stderr, flush=True)


def part_workers(given: argparse.Namespace) -> Sequence[dict[str, Any]]:
    """Run the grid on 1, 2, 4, … workers."""
    lines, tables = [], []
    for workers in _doubling(given.most):
        run = ran(given, f"workers-{workers}", grid=given.grid, workers=workers)
        given.calm = run  # in the end, the run with all workers
        tables.append(run.csv)
        lines.append({"workers": workers, **_against_bounds(run, workers=workers), "same_table": run.csv == tables[0]})
    return lines


def _against_bounds(run: Ran, *, workers: int) -> dict[str, Any]:
    """Compare the time from the first pack to the last with its lower bounds: longest chain, and evenly spread work."""
    packs = [line for line in run.packs if line["kind"] != "load"]
    spent = {key: line["seconds"] for line in packs for key in line["keys"]}
    mates = {key: line["keys"] for line in packs for key in line["keys"]}
    ends: dict[str, float] = {}
    stages = {key[:16]: [parent[:16] for parent in stage.inputs] for key, stage in run.plan.stages.items()}
    for key in stages:  # parents come first
        before = [ends[parent] for mate in mates[key] for parent in stages[mate]]
        ends[key] = max(before, default=0.0) + spent[key]
    makespan = max(p["begun"] + p["seconds"] for p in packs) - min(p["begun"] for p in packs)
    work = sum(p["seconds"] for p in packs) / workers
    bound = max(*ends.values(), work)
    times = {"wall_s": run.seconds, "makespan_s": makespan, "chain_s": max(ends.values()), "work_s": work}
    load = max(p["seconds"] for p in run.packs if p["kind"] == "load")
    return {**{k: round(v, 1) for k, v in times.items()}, "load_s": load, "of_bound": round(bound / makespan, 3)}


def part_ranks(given: argparse.Namespace) -> Sequence[dict[str, Any]]:
    """Train the same stages on 1, 2, 4, … ranks."""
    grid = _few(given, ROOT / "grid" / "quickstart.yaml", contaminate=["de"], languages=["en", "de"])
    lines: list[dict[str, Any]] = []
    curves: list[dict[str, list[float]]] = []
    for ranks in _doubling(given.most):
        run = ran(given, f"ranks-{ranks}", grid=grid, workers=1, ranks=ranks, zero=2 if ranks > 1 else None)
        curves.append(_losses(run))
        pairs = [(x, y) for k, first in curves[0].items() for x, y in zip(first, curves[-1][k], strict=True)]
        apart = max(abs(x - y) / max(abs(x), 0.1) for x, y in pairs)
        steps = {p["kind"]: round(1000 * p["step"], 1) for p in run.packs if p["steps"]}
        lines.append({"ranks": ranks, "step_ms": steps, "losses_apart": round(apart, 5)})
    return lines


def _losses(run: Ran) -> dict[str, list[float]]:
    losses = {}
    for key, stage in run.plan.stages.items():
        if "training" in stage.spec:
            losses[key] = [value for _, value in run.store.record(stage.kind, key).metrics["loss"]]
    return losses


def part_gang(given: argparse.Namespace) -> Sequence[dict[str, Any]]:
    """Train and evaluate a base model that fits no single GPU, once undisturbed and once with a killed rank."""
    grid = _few(given, given.grid, contaminate=["de"], languages=["en", "de"])
    limit = {"BENCH_GIB": str(given.gib)} if given.device == "cuda" else {}
    options = {"workers": 1, "ranks": given.most, "zero": 3}
    calm = ran(given, "gang", grid=grid, orders=limit, **options)
    died = {**limit, "BENCH_DIES": f"contaminate {given.most - 1} {given.dies}"}
    killed = ran(given, "gang-killed", grid=grid, orders=died, **options)
    pairs = [(x, y) for k, a in _losses(calm).items() for x, y in zip(a, _losses(killed)[k], strict=True)]
    packs = [
        {"kind": p["kind"], "step_ms": round(1000 * p["step"], 1), "seconds": p["seconds"],
         "tok_s": round(p["tokens"] / p["seconds"], 1), "peak_gib": p["peak_gib"]}
        for p in calm.packs
    ]  # fmt: skip
    return [
        *packs,
        {
            "killed": (given.work / "gang-killed" / "died").exists(),
            "loads": sum(p["kind"] == "load" for p in killed.packs),
            "losses_apart": max(abs(x - y) for x, y in pairs),
            "same_table": calm.csv == killed.csv,
            "seconds": [round(calm.seconds, 1), round(killed.seconds, 1)],
        },
    ]


def part_killed(given: argparse.Namespace) -> Sequence[dict[str, Any]]:
    """Run the grid on all GPUs, and kill one worker."""
    calm = given.calm or ran(given, "calm", grid=given.grid, workers=given.most)
    folder = given.work / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    victim: list[int] = []
    threading.Thread(target=_kill, args=(folder / LOG, given.most, victim), daemon=True).start()
    killed = ran(given, "killed", grid=given.grid, workers=given.most)
    loads = [p for p in killed.packs if p["kind"] == "load"]
    by = {p["pid"] for p in killed.packs if p["kind"] != "load"}
    return [{"killed": victim, "loads": len(loads), "workers_used": len(by), "same_table": calm.csv == killed.csv,
             "seconds": [round(calm.seconds, 1), round(killed.seconds, 1)]}]  # fmt: skip


def _kill(log: Path, workers: int, victim: list[int]) -> None:
    """Wait until every worker has finished a pack, and kill the last of them a second later."""
    while not victim:
        time.sleep(0.2)
        lines = [json.loads(x) for x in log.read_text().split("\n")[:-1]] if log.exists() else []
        busy = list({p["pid"]: None for p in lines if p["kind"] != "load"})
        if len(busy) == workers:
            time.sleep(1)
            victim.append(busy[-1])
            os.kill(busy[-1], signal.SIGKILL)


def _few(given: argparse.Namespace, grid: Path, **only: Any) -> Path:
    """Write a smaller version of a grid, with the fields in ``only`` replaced."""
    fields = yaml.safe_load(grid.read_text()) | only | {"unlearn": {"none": []}, "exclude": []}
    path: Path = given.work / f"few-{grid.parent.name}-{grid.stem}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return path


def _doubling(most: int) -> list[int]:
    return [n for n in (1, 2, 4, 8) if n <= most]


if __name__ == "__main__":
    main()
