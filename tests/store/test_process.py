"""Whether a process has ended can be told from its name alone."""

import os
import subprocess
import sys

from xlharm.store.process import has_ended, machine, process_name, start_of

SHOW = "from xlharm.store.process import process_name; print(process_name(), flush=True); input()"


def test_a_process_is_known_until_it_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", SHOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    name = process.stdout.readline().strip()
    assert not has_ended(name)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie counts as ended
    assert has_ended(name)
    process.wait()
    assert has_ended(name)


def test_nothing_is_known_of_other_machines_and_other_names() -> None:
    assert not has_ended(process_name())
    assert not has_ended(process_name() + "-scratch")
    place, pid, start = process_name().split("-")
    assert has_ended(f"{place}-{pid}-{int(start) + 1}")  # a later process with the same id
    for name in (f"00000000-{pid}-1", "tmpabc", f"{place}-x-1", f"{place}-1", ""):
        assert not has_ended(name)


def test_machines_and_starts_have_names() -> None:
    assert machine() == machine() != ""
    assert start_of(os.getpid()) != ""
    assert start_of(2**22 + 1) == ""
