"""Counts the cores that this process may use; runs tasks that wait for files or memory on a few threads."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_THREADS = 8  # page faults and disks limit copies of large adapters: more threads gain nothing
_SHARES = 16  # of many short tasks, so many at a time are handed to each thread: handing over takes time, too


def side_by_side(tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """Call every task on one of a few threads; return their results in order.

    Raises:
        Exception: the error of the first failing task, after all tasks have ended.
    """
    todo = list(tasks)
    size = max(1, len(todo) // (_THREADS * _SHARES))
    with ThreadPoolExecutor(_THREADS) as pool:
        shares = list(pool.map(_one_by_one, (todo[i : i + size] for i in range(0, len(todo), size))))
    failed = next((error for _, error in shares if error is not None), None)
    if failed is not None:
        raise failed
    return [result for results, _ in shares for result in results]


def _one_by_one(tasks: Sequence[Callable[[], _T]]) -> tuple[list[_T], Exception | None]:
    """Call every task; return the results, and the first error."""
    results, first = [], None
    for task in tasks:
        try:
            results.append(task())
        except Exception as error:  # noqa: BLE001 - raised again when all tasks have ended
            first = first or error
    return results, first


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use: those it is bound to, or less by the limits of its control groups.

    Args:
        root: where `proc` and `sys` lie.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(int(share) for share in _quotas(root))]))


def user_threads() -> int | None:
    """Return how many threads the user asks for by OMP_NUM_THREADS; None where the variable says nothing of use."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def threads_here(planned: int | None) -> int:
    """Return how many threads this process computes with: as planned or as the user asks, at most its cores."""
    cores = usable_cores()
    return min(planned or user_threads() or cores, cores)


def _quotas(root: Path) -> Iterator[float]:
    """Return the CPU limits, in cores, of the control groups that this process is in, and of those above them."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            for folder in _upwards(root / "sys/fs/cgroup", path):
                yield from _share(*" ".join(_lines(folder / "cpu.max")).split())
        elif "cpu" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup/cpu", path):
                yield from _share(*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us"))


def _upwards(mount: Path, path: str) -> list[Path]:
    """Return a group's folder and those above it; in a container the path may be the host's, which is not there."""
    folder = mount / path.strip("/")
    return [folder, *(above for above in folder.parents if above.is_relative_to(mount))]


def _share(quota: str = "max", period: str = "", *_: str) -> Iterator[float]:
    if quota.isdecimal() and period.isdecimal() and int(period):  # `max` and -1 are no limit
        yield int(quota) / int(period)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")[:-1]
    except OSError:
        return []
