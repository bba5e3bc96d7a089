"""Strike a grid with seeded faults on real Ray clusters, again and again: ``make faults``.

``python -m tests.faults.campaign --count 500 --seed 1 --out campaign.jsonl`` goes on where the file ends, so that a
campaign may be interrupted; ``--summary`` only prints what the file holds.
"""

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.campaign.arena import Arena, NoArena
from tests.faults.campaign.passes import Pass, Verdict, clear, entries, record, recorded
from tests.faults.campaign.reckoning import PLANS, Instant
from tests.faults.test_bits import rows_of
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
        only: kinds of faults; empty for all.
        extra: variables of the cluster.
    """

    name: str
    weight: int
    nodes: int = 3
    ranks: int = 1
    only: tuple[str, ...] = ()


OWN = (
    "SIGKILL worker", "SIGSTOP worker", "SIGKILL driver", "SIGTERM driver", "SIGHUP driver", "SIGKILL raylet",
    "SIGKILL gcs", "SIGSTOP gcs", "SIGSTOP raylet", "SIGKILL dashboard", "SIGKILL runtime", "EIO", "full disk",
)  # fmt: skip
MODES = (
    Mode(name="cluster", weight=6),
    Mode(name="gang", weight=2, ranks=2),
    Mode(name="own cluster", weight=1, nodes=0, only=OWN),
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


def command(store: Path, *, arena: Arena | NoArena, ranks: int, plan: str) -> list[str]:
    """Return the command of a driver."""
    options = [f'plan="{plan}"', f"workers={2 if ranks == 1 else 1}", f"ranks={ranks}"]
    if arena.address is not None:
        options.append(f'address="{arena.address}"')
    return [*DRIVER, str(store), "campaign.reckoning:Reckoning", *options]


def campaign(
    out: Path, *, count: int, seed: int, seconds: float, folder: Path, modes: Sequence[Mode] = MODES, plan: str = "large"
) -> bool:
    """Run passes until so many faults have been struck, or the time is over; return whether all passes were good."""
    planned = PLANS[plan]
    whole = reference(planned, folder / "reference")
    until = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        arena: Arena | None = None
        while (struck := _count(out, "fault")) < count and time.monotonic() < until:
            number = _count(out, "pass")
            rng = random.Random(f"{seed} {number}")
            mode = rng.choices(modes, weights=[m.weight for m in modes])[0]
            place = clear(folder / f"{number:03d}")
            orders = folder / "orders"
            orders.mkdir(exist_ok=True)
            if mode.nodes and arena is None:
                arena = stack.enter_context(Arena(orders, nodes=mode.nodes, extra={}))
            here = arena if mode.nodes and arena is not None else NoArena(orders, extra={})
            (place / "orders").rmdir()
            (place / "orders").symlink_to(orders)
            for path in orders.iterdir():
                path.unlink()
            one = Pass(
                place, plan=planned, command=command(place / "store", arena=here, ranks=mode.ranks, plan=plan),
                arena=here, rng=rng, most=min(MOST_OF_A_PASS, count - struck), only=mode.only, ranks=mode.ranks,
                first=struck,
            )  # fmt: skip
            verdict = one.run(whole)
            for entry in entries(one.faults, verdict):
                record(out, **{**entry, "mode": mode.name, "seed": seed})
            print(_line(verdict, mode=mode.name), flush=True)
    return all(entry["good"] for entry in recorded(out) if entry["type"] == "pass")


def _count(out: Path, kind: str) -> int:
    return sum(entry["type"] == kind for entry in recorded(out))


def _line(verdict: Verdict, *, mode: str) -> str:
    word = "good" if verdict.good else "BAD"
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
    lines = [
        f"{sum(map(len, by_kind.values()))} faults in {len(passes)} passes "
        f"{sum(p['good'] for p in passes)} passes good; tables that differ: {sum(not p['same_table'] for p in passes)}; "
        f"stages run twice: {sum(len(p['twice']) for p in passes)}; lost: {sum(len(p['lost']) for p in passes)}; "
        f"stuck: {sum(p['stuck'] for p in passes)}; leaked: {sum(len(p['leaked']) for p in passes)}",
        "", "| fault | struck | seconds until the next stage was stored: median | longest |", "|---|---|---|---|",
    ]  # fmt: skip
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
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=Path("campaign.jsonl"))
    parser.add_argument("--folder", type=Path, help="where stores and logs are kept; else they are deleted")
    parser.add_argument("--modes", nargs="*", choices=[mode.name for mode in MODES], help="all by default")
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    good = True
    if not options.summary:
        with tempfile.TemporaryDirectory(prefix="xf") as folder:
            good = campaign(
                options.out, count=options.count, seed=options.seed, seconds=options.seconds,
                folder=options.folder or Path(folder),
                modes=[mode for mode in MODES if not options.modes or mode.name in options.modes],
            )  # fmt: skip
    print(summary(options.out))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
