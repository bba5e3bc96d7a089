"""Tasks on a few threads; cores are counted as this process may use them, not as the machine has them."""

import os
import threading
from functools import partial
from pathlib import Path

import pytest

from xlharm.parallel import side_by_side, threads_here, usable_cores, user_threads


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


def test_of_many_tasks_all_are_called_in_order_though_one_fails() -> None:
    called: list[int] = []

    def task(number: int) -> int:
        called.append(number)
        if number in {7, 900}:
            raise ValueError(str(number))
        return number

    assert side_by_side(partial(task, n) for n in range(10, 800)) == list(range(10, 800))
    called.clear()
    with pytest.raises(ValueError, match=r"^7$"):
        side_by_side(partial(task, n) for n in range(1000))
    assert sorted(called) == list(range(1000))


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be bound to sixteen cores, without a wish of the user's."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


V1 = "12:cpu,cpuacct:/job\n1:name=systemd:/job"


@pytest.mark.usefixtures("sixteen")
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 16),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "400000 100000"}, 4),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "250000 100000"}, 2),  # a limit of the group above
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"}, 1),  # as in a container
        ({"proc/self/cgroup": "0::/of/the/host", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "9900000 100000"}, 16),  # more than it is bound to
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "600000",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
            },
            6,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            16,
        ),
    ],
)
def test_limits_of_control_groups(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert usable_cores(write(tmp_path, files)) == cores


@pytest.mark.parametrize(("value", "threads"), [("4", 4), ("3,2", 3), ("", None), ("0", None), ("many", None)])
def test_the_users_variable(monkeypatch: pytest.MonkeyPatch, value: str, threads: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert user_threads() == threads


def test_threads_are_at_most_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3})
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert threads_here(None) == threads_here(16) == 1
