"""Names of processes that stay unique on a machine, so that others can tell whether a process has ended."""

import os
import socket
from functools import cache
from pathlib import Path

from xlharm.plan.digest import digest


@cache
def machine() -> str:
    """Return a name of the machine or container within which process ids are unique."""
    try:
        boot, namespace = Path("/proc/sys/kernel/random/boot_id").read_text(), Path("/proc/self/ns/pid").readlink()
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {boot.strip()} {namespace}"


def start_of(pid: int) -> str:
    """Return the start time of a process (Linux), which distinguishes it from a later process with the same id.

    Returns an empty text for a process that has ended, and for a zombie: containers often have no process that
    collects zombies.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if state in {"Z", "X"} else rest[18]


def process_name() -> str:
    """Return this process's name for files: the machine's digest, the process id and its start time."""
    return f"{digest(machine())[:8]}-{os.getpid()}-{start_of(os.getpid())}"


def has_ended(name: str) -> bool:
    """Whether the process whose ``process_name`` a name begins with was on this machine and has ended.

    False when that is not known.
    """
    place, pid, start = (*name.split("-"), "", "")[:3]
    return place == digest(machine())[:8] and pid.isdecimal() and start.isdecimal() and start_of(int(pid)) != start
