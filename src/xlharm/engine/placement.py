"""How many workers, and what each may use of its machine. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xlharm.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Workers of a run.

    Attributes:
        workers: how many.
        ranks: processes of each.
        cpus: that each process reserves.
        gpus: that each process reserves; less than one shares a GPU.
        threads: that each process computes with; None leaves it to torch.
        device: that each process is told to use.
        labels: that its machine must have.
    """

    workers: int
    ranks: int
    cpus: int
    gpus: float
    threads: int | None
    device: Literal["cpu", "cuda"]
    labels: tuple[tuple[str, str], ...] = ()


def check_share(share: float) -> None:
    """Make sure that a worker can reserve so much of a GPU.

    Raises:
        UserError: it cannot.
    """
    if not 0 < share <= 1:
        raise UserError(f"--gpus-per-worker {share:g}: expected a number above 0, at most 1 (--ranks N for more GPUs)")


def shape_of(
    cpus: Sequence[int],
    gpus: int,
    *,
    device: Literal["auto", "cpu", "cuda"],
    workers: int | None,
    ranks: int,
    most: int,
    share: float = 1.0,
    threads: int | None = None,
) -> Shape:
    """Choose workers for a cluster: one for each GPU, or one for each CPU machine with all its cores.

    Args:
        cpus: cores of each machine that has some.
        gpus: GPUs of all machines.
        device: what was asked for.
        workers: how many were asked for.
        ranks: processes of each worker.
        most: packs there are; more workers than that would idle.
        share: of a GPU that a worker reserves.
        threads: most that a process on the CPU computes with; None takes its share of the cores.

    Raises:
        UserError: a GPU was asked for and there is none, a gang is larger than the cluster, or its ranks would share
            a GPU.
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
        return Shape(workers=count, ranks=ranks, cpus=spare, gpus=share, threads=None, device="cuda")
    cores, machines = min(cpus, default=1), max(len(cpus), 1)
    count = min(workers or max(machines // ranks, 1), most)
    per_machine = -(-count * ranks // machines)
    each = max(cores // per_machine, 1)
    # More than half a machine is enough to have it alone, and leaves room for a job's own driver.
    reserved = cores // 2 + 1 if per_machine == 1 else each
    threads = min(each, threads or each)
    return Shape(workers=count, ranks=ranks, cpus=min(reserved, cores), gpus=0, threads=threads, device="cpu")
