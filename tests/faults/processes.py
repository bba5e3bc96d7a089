"""Driver processes, and what they leave behind."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a driver: the source tree before what this process imports, and nobody's cluster."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), **extra}


def drive(store: Path | str, runner: str = "Tracing", *settings: str, **extra: str) -> "subprocess.Popen[str]":
    """Start a driver in a process group of its own."""
    return start([sys.executable, "-m", "tests.faults.drive", str(store), runner, *settings], **extra)


def xlharm(*arguments: str, **extra: str) -> "subprocess.Popen[str]":
    """Start the command line in a process group of its own."""
    return start([sys.executable, "-c", "from xlharm.cli.main import main; main()", *arguments], **extra)


def start(command: Sequence[str], **extra: str) -> "subprocess.Popen[str]":
    """Start a process whose output can be read."""
    return subprocess.Popen(
        command, env=environment(**extra), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def finished(process: "subprocess.Popen[str]", *, timeout: float = 420) -> tuple[int, str]:
    """Wait for a process; return its exit code and what it wrote."""
    output, _ = process.communicate(timeout=timeout)
    return process.returncode, output


def verdict(process: "subprocess.Popen[str]", *, timeout: float = 420) -> dict[str, Any]:
    """Wait for a driver and return its last line."""
    code, told = finished(process, timeout=timeout)
    try:
        return dict(json.loads(told.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        raise AssertionError(f"driver ended with {code}: {told}") from None


def until(condition: Callable[[], object], *, timeout: float = 300) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def session_of(process: "subprocess.Popen[str]") -> set[int]:
    """Return the living processes of a driver's session, itself excluded: Ray's daemons and workers."""
    running = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                state, _, _, session = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
                if int(session) == process.pid and state != "Z":
                    running.add(int(folder.name))
    return running - {process.pid}


@contextlib.contextmanager
def ending(*processes: "subprocess.Popen[str]") -> Iterator[None]:
    """Kill what is left of these processes, whatever becomes of the test."""
    try:
        yield
    finally:
        for process in processes:
            for pid in {process.pid, *session_of(process)}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            process.wait()
