"""How many workers a run has, and which share of its machine each may use. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xlharm.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WorkerShape:
    """Number and resources of a run's workers.

    Attributes:
        workers: number of workers.
        ranks: processes per worker.
        cpus: CPUs that each process reserves.
        gpus: GPUs that each process reserves; below one, processes share a GPU.
        threads: CPU threads of each process; None leaves torch's default.
        device: device that each process uses.
        labels: node labels that its machine must have.
    """

    workers: int
    ranks: int
    cpus: int
    gpus: float
    threads: int | None
    device: Literal["cpu", "cuda"]
    labels: tuple[tuple[str, str], ...] = ()


def check_share(share: float) -> None:
    """Check the share of a GPU that a worker reserves.

    Raises:
        UserError: it is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise UserError(f"--gpus-per-worker {share:g}: expected a number above 0, at most 1 (--ranks N for more GPUs)")


def worker_shape(
    cpus: Sequence[int],
    gpus: int,
    *,
    device: Literal["auto", "cpu", "cuda"],
    workers: int | None,
    ranks: int,
    most: int,
    share: float = 1.0,
    threads: int | None = None,
) -> WorkerShape:
    """Choose workers for a cluster: one per GPU, or one per machine without GPUs, with all its cores.

    Args:
        cpus: cores of each machine that has any.
        gpus: GPUs of all machines together.
        device: the requested device.
        workers: the requested number of workers; None chooses.
        ranks: processes per worker.
        most: number of packs; more workers than that would idle.
        share: share of a GPU that a worker reserves.
        threads: most threads of a process on the CPU; None takes its share of the cores.

    Raises:
        UserError: a GPU is requested and there is none, a worker has more ranks than the cluster has GPUs, or its
            ranks would share a GPU.
    """
    check_share(share)
    if share < 1 and ranks > 1:
        raise UserError(f"--gpus-per-worker {share:g}: ranks of a group cannot share a GPU; use it with --ranks 1")
    if device == "cuda" and not gpus:
        raise UserError("--device cuda: there is no GPU here (or Ray does not see it)")
    if gpus and device != "cpu":
        if ranks > gpus and workers is None:
            raise UserError(f"--ranks {ranks}: there are only {gpus} GPUs")
        count = min(workers or gpus * int(1 / share + 1e-9) // ranks, most)
        spare = 1 if sum(cpus) >= count * ranks else 0
        return WorkerShape(workers=count, ranks=ranks, cpus=spare, gpus=share, threads=None, device="cuda")
    cores, machines = min(cpus, default=1), max(len(cpus), 1)
    count = min(workers or max(machines // ranks, 1), most)
    per_machine = -(-count * ranks // machines)
    each = max(cores // per_machine, 1)
    # Reserving more than half of a machine keeps other workers off it and leaves CPUs for the driver of a Ray job.
    reserved = cores // 2 + 1 if per_machine == 1 else each
    threads = min(each, threads or each)
    return WorkerShape(workers=count, ranks=ranks, cpus=min(reserved, cores), gpus=0, threads=threads, device="cpu")
