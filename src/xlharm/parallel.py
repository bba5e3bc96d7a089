"""Run tasks that wait for files or memory on a few threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_THREADS = 8  # page faults and disks limit copies of large adapters: more threads gain nothing


def side_by_side(tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """Call every task on one of a few threads; return their results in order.

    Raises:
        Exception: the error of the first failing task, after all tasks have ended.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda task: task(), tasks))
