"""Tasks on a few threads."""

import threading
from functools import partial

import pytest

from xlharm.parallel import side_by_side


def test_results_come_in_order_and_tasks_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)  # each task waits for the others

    def task(number: int) -> int:
        meeting.wait()
        return number

    assert side_by_side(partial(task, n) for n in range(3)) == [0, 1, 2]


def test_the_first_failure_is_raised_when_all_that_began_have_ended() -> None:
    meeting = threading.Barrier(4, timeout=60)
    ended = []

    def task(number: int) -> None:
        meeting.wait()
        ended.append(number)
        if number in {1, 2}:
            raise ValueError(str(number))

    with pytest.raises(ValueError, match="1"):
        side_by_side(partial(task, n) for n in range(4))
    assert sorted(ended) == [0, 1, 2, 3]
