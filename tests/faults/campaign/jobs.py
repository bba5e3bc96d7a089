"""Several campaigns beside each other on one machine: processes with a seed, two cores and clusters of their own."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.faults.processes import ROOT, environment


def modes_of(jobs: int, *, names: Sequence[str], weights: Sequence[int], seed: int) -> list[str]:
    """Return the mode of each job: each mode once, then by weight."""
    return [*names, *random.Random(seed).choices(names, weights, k=max(0, jobs - len(names)))][:jobs]


def cores_of(job: int, cores: Sequence[int]) -> set[int]:
    """Return the two cores of a job; jobs share cores where there are too few."""
    return {cores[(2 * job + i) % len(cores)] for i in range(2)}


def run_beside(modes: Sequence[str], *, seed: int, arguments: Sequence[str], folder: Path | None) -> bool:
    """Run a campaign for each mode, with the seeds ``seed``, ``seed`` + 1, …; return whether all were good.

    Each line that a campaign prints is printed with its seed in front. Cores are shared out because Ray starts a
    worker for each core that a driver may use.
    """
    cores = sorted(os.sched_getaffinity(0))
    processes = []
    try:
        for job, mode in enumerate(modes):
            own = ["--seed", str(seed + job), "--modes", mode]
            if folder is not None:
                own += ["--folder", str(folder / str(seed + job))]
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.campaign", *arguments, *own], cwd=ROOT, env=environment(),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            os.sched_setaffinity(process.pid, cores_of(job, cores))
            processes.append(process)
            threading.Thread(target=_pass_on, args=(process, seed + job), daemon=True).start()
        codes = [process.wait() for process in processes]
        return not any(codes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _pass_on(process: "subprocess.Popen[str]", seed: int) -> None:
    for line in process.stdout or ():
        sys.stdout.write(f"[{seed}] {line}")
        sys.stdout.flush()
