"""Strike a grid with seeded faults on real Ray clusters, again and again: ``make faults``.

``python -m tests.faults.campaign --count 500 --seed 1 --out campaign.jsonl`` goes on where the file ends, so that a
campaign may be interrupted; ``--summary`` only prints what the file holds. ``--jobs 7 --limit 540`` runs seven
campaigns beside each other, with seeds from ``--seed`` on, for nine minutes; all write to the same file.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import psutil

from tests.faults.campaign.arena import Arena, NoArena
from tests.faults.campaign.jobs import modes_of, run_beside
from tests.faults.campaign.passes import FINISH_SECONDS, Pass, Verdict, clear, entries, record, recorded
from tests.faults.campaign.places import Bucket, Folder, Place
from tests.faults.campaign.reckoning import PLANS, Instant
from tests.faults.campaign.strikes import LIMIT
from tests.faults.test_bits import rows_of
from tests.s3 import S3, serving
from xlharm.plan.build import Plan
from xlharm.stages.job import PackJob, RunnerConfig
from xlharm.store.store import Store

MOST_OF_A_PASS = 40
DRIVER = [sys.executable, "-m", "tests.faults.drive"]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How a pass runs.

    Attributes:
        name: of the results.
        weight: how often it is chosen.
        nodes: raylets of the standing cluster; 0 when each driver starts its own cluster.
        ranks: processes of a worker.
        only: kinds of faults, by how they begin; empty for all.
        bucket: whether the store is in a bucket.
        alone: whether other campaigns on the machine would disturb it.
        extra: returns variables of the cluster.
    """

    name: str
    weight: int
    nodes: int = 3
    ranks: int = 1
    only: tuple[str, ...] = ()
    bucket: bool = False
    alone: bool = False
    extra: Callable[[], dict[str, str]] = dict


def _small_memory() -> dict[str, str]:
    """Let Ray take the machine's memory for full when 1.5 GB more than now are used."""
    memory = psutil.virtual_memory()
    return {LIMIT: f"{(memory.total - memory.available + 1.5 * 2**30) / memory.total:.4f}"}


def _lossy() -> dict[str, str]:
    """Let Ray lose some of its own requests and replies."""
    loses = {"num_failures": -1, "req_failure_prob": 2, "resp_failure_prob": 2, "in_flight_failure_prob": 2}
    return {"RAY_testing_rpc_failure": json.dumps({"*": loses})}


_SIGNALS = ("SIGKILL worker", "SIGSTOP worker", "SIGKILL driver", "SIGTERM driver", "SIGSTOP driver")
_OWN = (
    *_SIGNALS, "SIGHUP driver", "SIGKILL raylet", "SIGKILL gcs", "SIGSTOP gcs", "SIGSTOP raylet", "SIGKILL dashboard",
    "SIGKILL runtime", "EIO", "full disk",
)  # fmt: skip
MODES = (
    Mode(name="cluster", weight=6),
    Mode(name="gang", weight=2, ranks=2),
    Mode(name="own cluster", weight=1, nodes=0, only=_OWN),
    Mode(name="memory", weight=1, only=("memory", *_SIGNALS), alone=True, extra=_small_memory),
    Mode(name="lossy", weight=1, only=_SIGNALS, extra=_lossy),
    Mode(name="bucket", weight=1, only=("errors of S3", "slow S3", *_SIGNALS), bucket=True),
)


def reference(plan: Plan, folder: Path) -> list[bytes]:
    """Return the lines of the results table of a plan that is computed in this process, without a fault."""
    store = Store(str(folder))
    config = RunnerConfig(base=plan.sources.base, corpus=folder, store_url=store.url, dtype="float32")
    runner = Instant(config)
    for stage in plan.stages.values():  # parents come first
        job = PackJob(id=stage.key[:16], kind=stage.kind, stages=(stage,), active=(True,))
        runner.run(job, report=lambda _: None, stopping=lambda: False)
    lines, _ = rows_of(plan, store)
    return lines


def command(url: str, *, arena: Arena | NoArena, ranks: int, plan: str) -> list[str]:
    """Return the command of a driver."""
    options = [f'plan="{plan}"', f"workers={2 if ranks == 1 else 1}", f"ranks={ranks}"]
    if arena.address is not None:
        options.append(f'address="{arena.address}"')
    return [*DRIVER, url, "campaign.reckoning:Reckoning", *options]


class Grounds:
    """The clusters and the server that passes run on; one cluster at a time.

    Args:
        orders: the folder of orders.
    """

    def __init__(self, orders: Path) -> None:
        self._orders = orders
        self._stack = contextlib.ExitStack()
        self._servers = contextlib.ExitStack()
        self._mode: Mode | None = None
        self._arena: Arena | NoArena = NoArena(orders, extra={})
        self.server: S3 | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._servers.close()

    def of(self, mode: Mode) -> Arena | NoArena:
        """Return the cluster of a mode; it replaces that of another mode, unless both are alike."""
        if mode.bucket and self.server is None:
            self.server = self._servers.enter_context(serving())
            os.environ.update(self.server.env, XDG_CACHE_HOME=str(self._orders.parent / "cache"))
        alike = self._mode is not None and all(
            getattr(self._mode, name) == getattr(mode, name) for name in ("nodes", "extra", "bucket")
        )
        if not alike:
            self._stack.close()
            extra = mode.extra()
            if mode.nodes:
                self._arena = self._stack.enter_context(Arena(self._orders, nodes=mode.nodes, extra=extra))
            else:
                self._arena = NoArena(self._orders, extra=extra)
            self._mode = mode
        return self._arena


def campaign(
    out: Path,
    *,
    count: int,
    seed: int,
    folder: Path,
    limit: float = float("inf"),
    modes: Sequence[Mode] = MODES,
    plan: str = "large",
) -> bool:
    """Run passes until so many faults have been struck, or the limit comes; return whether all passes were good.

    Args:
        out: a file of results, which other campaigns may share, with other seeds.
        count: faults in all, those counted that the file already holds.
        seed: of the choice of modes and faults.
        folder: for stores and logs.
        limit: seconds; a pass that has not ended by then does not count.
        modes: are chosen from for each pass.
        plan: name of the plan.
    """
    end = time.monotonic() + limit
    planned = PLANS[plan]
    print(f"computing the {len(planned.stages)} stages without faults", flush=True)
    whole = reference(planned, folder / "reference")
    orders = folder / "orders"
    orders.mkdir(exist_ok=True)
    with Grounds(orders) as grounds:
        while (struck := _count(out, "fault")) < count and time.monotonic() < end - FINISH_SECONDS:
            number = _count(out, "pass", "unfinished", seed=seed)
            rng = random.Random(f"{seed} {number}")
            mode = rng.choices(modes, weights=[m.weight for m in modes])[0]
            arena = grounds.of(mode)
            here = clear(folder / f"{number:03d}", orders=orders)
            place: Place = Folder(here / "store")
            if mode.bucket and grounds.server is not None:
                place = Bucket(grounds.server, f"{seed}-{number}")
            one = Pass(
                here, place=place, plan=planned, arena=arena, rng=rng, most=min(MOST_OF_A_PASS, count - struck),
                command=command(place.url, arena=arena, ranks=mode.ranks, plan=plan), only=mode.only, ranks=mode.ranks,
                first=struck, server=grounds.server, limit=end,
            )  # fmt: skip
            verdict = one.run(whole)
            record(out, *({**entry, "mode": mode.name, "seed": seed} for entry in entries(one.faults, verdict)))
            print(_line(verdict, mode=mode.name), flush=True)
    return all(entry["good"] for entry in recorded(out) if entry["type"] == "pass")


def _count(out: Path, *kinds: str, seed: int | None = None) -> int:
    return sum(entry["type"] in kinds and seed in {None, entry["seed"]} for entry in recorded(out))


def _line(verdict: Verdict, *, mode: str) -> str:
    word = "not finished before the limit" if verdict.unfinished else "good" if verdict.good else "BAD"
    lines = "; ".join(f"{n}x {line}" for line, n in verdict.lines.items())
    return (
        f"pass {verdict.name} ({mode}): {word}, {verdict.faults} faults in {verdict.wall:.0f} s, {verdict.starts} "
        f"drivers, table {verdict.same_table}, twice {verdict.twice}, lost {verdict.lost}, stuck {verdict.stuck}, "
        f"leaked {verdict.leaked}, unforeseen {verdict.unforeseen}\n    {lines}"
    )


def summary(out: Path) -> str:
    """Return the figures of a campaign as lines of a table."""
    read = recorded(out)
    passes = [entry for entry in read if entry["type"] == "pass"]
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in read:
        if entry["type"] == "fault":
            by_kind[entry["kind"]].append(entry)
    counts = {
        "good": sum(p["good"] for p in passes), "tables that differ": sum(not p["same_table"] for p in passes),
        **{name: sum(len(p[name]) for p in passes) for name in ("twice", "lost", "leaked", "unforeseen")},
        "stuck": sum(p["stuck"] for p in passes),
        "not finished before a limit": sum(entry["type"] == "unfinished" for entry in read),
    }  # fmt: skip
    lines = [
        f"{sum(map(len, by_kind.values()))} faults in {len(passes)} passes; "
        + "; ".join(f"{name}: {n}" for name, n in counts.items()),
        "",
        "| fault | struck | seconds until the next stage was stored: median | longest |",
        "|---|---|---|---|",
    ]
    for kind, faults in sorted(by_kind.items()):
        seconds = [f["seconds"] for f in faults if f["seconds"] is not None]
        times = f"{statistics.median(seconds):.1f} | {max(seconds):.1f}" if seconds else "– | –"
        lines.append(f"| {kind} | {len(faults)} | {times} |")
    return "\n".join(lines)


def main() -> None:
    """Run or show a campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds; no fault is struck in the last 150")
    parser.add_argument("--jobs", type=int, default=1, help="campaigns beside each other; two cores for each are best")
    parser.add_argument("--out", type=Path, default=Path("campaign.jsonl"))
    parser.add_argument("--folder", type=Path, help="where stores and logs are kept; else they are deleted")
    parser.add_argument("--modes", nargs="*", choices=[mode.name for mode in MODES], help="all by default")
    parser.add_argument("--summary", action="store_true", help="only print what the file holds")
    parser.add_argument("--no-summary", action="store_true", help="leave it out at the end")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clusters are ended on the way
    good = options.summary or _run(options)
    if not options.no_summary:
        print(summary(options.out))
    sys.exit(0 if good else 1)


def _why_not(mode: Mode, *, jobs: int) -> str:
    """Return why a mode cannot be run; empty when it can."""
    if mode.alone and jobs > 1:
        return "it has to run alone, without --jobs"
    lacks = [name for name in ("moto", "flask", "s3fs") if mode.bucket and find_spec(name) is None]
    return f"{', '.join(lacks)} not installed" if lacks else ""


def _run(options: argparse.Namespace) -> bool:
    modes = []
    for mode in [mode for mode in MODES if mode.name in (options.modes or [m.name for m in MODES])]:
        if why := _why_not(mode, jobs=options.jobs):
            print(f"mode {mode.name} is left out: {why}", flush=True)
        else:
            modes.append(mode)
    if not modes:
        return False
    if options.jobs > 1:
        names, weights = [mode.name for mode in modes], [mode.weight for mode in modes]
        arguments = [
            "--count", str(options.count), "--out", str(options.out.resolve()), "--limit", str(options.limit),
            "--no-summary",
        ]  # fmt: skip
        return run_beside(
            modes_of(options.jobs, names=names, weights=weights, seed=options.seed), seed=options.seed,
            arguments=arguments, folder=options.folder,
        )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="xf") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return campaign(
            options.out, count=options.count, seed=options.seed, folder=folder, limit=options.limit, modes=modes
        )  # fmt: skip


if __name__ == "__main__":
    main()
