"""Things that wait for files or memory, done side by side."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_HANDS = 8  # copies of large adapters are bound by page faults and disks: more threads gain nothing


def side_by_side(tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """Call every task on a few threads; return what they return, in order.

    Raises:
        Exception: what the first failing task raised, when all have ended.
    """
    with ThreadPoolExecutor(_HANDS) as hands:
        return list(hands.map(lambda task: task(), tasks))
