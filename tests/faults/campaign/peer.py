"""The same kills for xlharm and for Ray Tune: ``python -m tests.faults.campaign.peer --kills 5 --seed 1``.

Both do as many pieces of work as the small plan has stages, of as many steps, with a checkpoint after every third
step, two at a time, on one standing Ray cluster. Their driver is killed when it has computed some more steps, and
started again: ours by the same command, Tune's by ``Tuner.restore``.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults.campaign import troubles
from tests.faults.campaign.arena import Arena, end
from tests.faults.campaign.reckoning import PLANS, STEPS, Reckoning
from tests.faults.processes import environment

PLAN = PLANS["small"]
WORK = {key[:16]: STEPS[stage.kind] for key, stage in PLAN.stages.items()}
EVERY = 3  # steps between two checkpoints


def tuned(config: dict[str, Any]) -> None:
    """Do one piece of work as a trial of Tune."""
    from ray import tune

    first = 0
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            first = int((Path(folder) / "step").read_text())
    for step in range(first, WORK[config["key"]]):
        time.sleep(Reckoning.seconds)
        troubles.note("steps", config["key"], step)
        if step % EVERY == EVERY - 1 or step + 1 == WORK[config["key"]]:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "step").write_text(str(step + 1))
                tune.report({"step": step + 1}, checkpoint=tune.Checkpoint.from_directory(folder))
        else:
            tune.report({"step": step + 1})


def tune_driver(folder: Path, address: str) -> None:
    """Run, or restore, an experiment of one trial for each piece of work; print how many have all their steps."""
    import ray
    from ray import tune

    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    place = folder / "experiment"
    if place.exists() and tune.Tuner.can_restore(str(place)):
        tuner = tune.Tuner.restore(str(place), trainable=tuned, resume_unfinished=True, restart_errored=True)
    else:
        tuner = tune.Tuner(
            tuned, param_space={"key": tune.grid_search(sorted(WORK))},
            tune_config=tune.TuneConfig(max_concurrent_trials=2, reuse_actors=True),
            run_config=tune.RunConfig(name="experiment", storage_path=str(folder), verbose=0),
        )  # fmt: skip
    results = tuner.fit()
    done = sum(r.metrics is not None and r.metrics.get("step") == WORK[r.config["key"]] for r in results)
    print(json.dumps({"done": done}), flush=True)


def measured(command: list[str], folder: Path, *, arena: Arena, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill a driver so many times; return what it computed and how long that took."""
    folder.mkdir()
    orders = folder.parent / "orders"
    (orders / "steps").unlink(missing_ok=True)
    env = {**environment(), **arena.env}
    began, struck = time.time(), 0
    while True:
        with (folder / "log.txt").open("a") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log, text=True, start_new_session=True)
        aim = len(_steps(orders)) + rng.randint(5, 25)
        while process.poll() is None and (struck == kills or len(_steps(orders)) < aim):
            time.sleep(0.05)
        code = process.poll()
        if code is None:
            os.kill(process.pid, signal.SIGKILL)
            struck += 1
        time.sleep(1.0)
        end(process)
        if code == 0 or time.time() - began > 1800:
            break
    computed = Counter(_steps(orders))
    needed = sum(WORK.values())
    return {
        "kills": struck, "seconds": round(time.time() - began), "steps needed": needed,
        "steps computed": computed.total(), "repeated": computed.total() - len(computed),
        "most often": max(computed.values()), "last line": _last(folder / "log.txt"),
    }  # fmt: skip


def _steps(orders: Path) -> list[tuple[str, str]]:
    path = orders / "steps"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split()[0], line.split()[1]) for line in lines]


def _last(log: Path) -> str:
    return (log.read_text("utf-8", "replace").strip().splitlines() or [""])[-1][:200]


def main() -> None:
    """Measure both, or drive Tune."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drive", type=Path)
    parser.add_argument("--address", default="")
    options = parser.parse_args()
    if options.drive is not None:
        tune_driver(options.drive, options.address)
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xp"))
        place = Path(folder)
        (place / "orders").mkdir()
        arena = stack.enter_context(Arena(place / "orders", nodes=2, extra={}))
        joined = f'address="{arena.address}"'
        ours = [sys.executable, "-m", "tests.faults.drive", str(place / "xlharm" / "store"),
                "campaign.reckoning:Reckoning", 'plan="small"', "workers=2", "pack=1", joined]  # fmt: skip
        theirs = [
            sys.executable,
            "-m",
            "tests.faults.campaign.peer",
            "--drive",
            str(place / "tune"),
            "--address",
            arena.address,
        ]
        for name, command in (("xlharm", ours), ("tune", theirs)):
            rng = random.Random(options.seed)
            print(
                name, json.dumps(measured(command, place / name, arena=arena, kills=options.kills, rng=rng)), flush=True
            )


if __name__ == "__main__":
    main()
