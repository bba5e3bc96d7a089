"""A standing Ray cluster of several raylets on this machine, drivers that are started again, and their processes."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from ray._private import services

from tests.faults.processes import session_of, start

QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
ROLES = {  # how the processes of a cluster are recognised by their command lines
    "worker": "ray::Worker",
    "raylet": "/raylet/raylet",
    "gcs": "/gcs_server",
    "dashboard agent": "ray::DashboardAgent",
    "runtime-env agent": "ray::RuntimeEnvAgent",
    "log monitor": "/log_monitor.py",
    "dashboard": "/dashboard.py",
}
_START_SECONDS = 60.0  # Ray itself gives up a node after 30
_WAIT_SECONDS = 20.0  # between two lines about what is waited for
_FAILED_STARTS = 3  # nodes that end while they start, until the cluster is given up
_PORTS = range(10_000, 32_000)  # below Linux's own choices, so that a head can start again on its port


def command_of(pid: int) -> str:
    """Return a process's command line; empty when it has ended or is a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def with_role(role: str, pids: set[int]) -> list[int]:
    """Return the processes among ``pids`` that have a role in a cluster."""
    return sorted(pid for pid in pids if ROLES[role] in command_of(pid))


class Arena:
    """Several raylets, each with one CPU, that the campaign's operator starts again when they have ended.

    Args:
        troubles: the folder of orders, for the workers' environment.
        nodes: number of raylets.
        extra: variables of all processes.
    """

    def __init__(self, troubles: Path, *, nodes: int, extra: dict[str, str]) -> None:
        self._env = {**QUIET, "XLHARM_TROUBLES": str(troubles), **extra}
        self._count = nodes
        self._folder = tempfile.TemporaryDirectory(prefix="xr", ignore_cleanup_errors=True)  # sockets have short paths
        self._nodes: list[subprocess.Popen[str]] = []
        self._started: dict[int, float] = {}  # when the nodes were started that have no raylet yet, by process
        self._failed: list[str] = []  # exit codes and last lines of nodes that ended while they started
        self._log = Path(self._folder.name) / "nodes.txt"
        self.address = f"{services.get_node_ip_address()}:{_free_port()}"  # Ray replaces that of localhost by it

    def __enter__(self) -> Self:
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end(self._nodes)
        self._folder.cleanup()

    def _wait(self) -> None:
        """Wait for the first nodes; the others may come later."""
        began = shown = time.monotonic()
        while sum(map(self._is_ready, self._nodes)) < min(2, self._count):
            now = time.monotonic()
            if len(self._failed) >= _FAILED_STARTS or now - began > 10 * _START_SECONDS:
                raise RuntimeError(f"the campaign's cluster does not start: {self.state()}")
            if now - shown >= _WAIT_SECONDS:
                shown = now
                print(f"  waiting for the cluster for {now - began:.0f} s: {self.state()}", flush=True)
            self.mend()
            time.sleep(0.5)

    @property
    def env(self) -> dict[str, str]:
        """Variables of a driver that joins."""
        return self._env

    def state(self) -> str:
        """Return what of the cluster runs, and what its nodes said that did not start."""
        raylets = len(with_role("raylet", self.pids()))
        lines = [f"{raylets} of {self._count} raylets run"]
        if self._failed:
            lines.append(f"{len(self._failed)} nodes ended while they started, the last with {self._failed[-1]}")
        return "; ".join(lines)

    def pids(self) -> set[int]:
        """Return the cluster's processes."""
        return set().union(*(session_of(node) for node in self._nodes)) if self._nodes else set()

    def pids_of_head(self) -> set[int]:
        """Return the processes of the first node, whose raylet drivers on this machine connect to."""
        return session_of(self._nodes[0])

    def mend(self) -> None:
        """Start what has ended, as an operator would, one node after another."""
        for node in [node for node in self._nodes if node.pid in self._started and node.poll() is not None]:
            self._failed.append(f"{node.returncode}: {_last_line(self._log)}")
        if not self._nodes or not self._lives(self._nodes[0], role="gcs"):  # a new head knows nothing of the old nodes
            self._end(self._nodes)
            self._nodes = []
        ended = [node for node in self._nodes[1:] if not self._lives(node, role="raylet")]
        self._end(ended)
        self._nodes = [node for node in self._nodes if node not in ended]
        if any(node.pid in self._started for node in self._nodes):
            return
        raylets = sum(bool(with_role("raylet", session_of(node))) for node in self._nodes)
        if raylets < self._count:
            self._add(*([] if self._nodes else ["head"]))

    def _is_ready(self, node: "subprocess.Popen[str]") -> bool:
        """Whether a node has started: its raylet and its agent."""
        ready = all(with_role(role, session_of(node)) for role in ("raylet", "dashboard agent"))
        if ready:
            self._started.pop(node.pid, None)
        return ready

    def _lives(self, node: "subprocess.Popen[str]", *, role: str) -> bool:
        """Whether a node has a process of a role, or may still be starting."""
        if node.pid in self._started and not self._is_ready(node):
            return node.poll() is None and time.monotonic() - self._started[node.pid] < _START_SECONDS
        return bool(with_role(role, session_of(node))) and (role != "gcs" or self.can_be_joined())

    def can_be_joined(self) -> bool:
        """Whether the head accepts connections: after SIGTERM its process may live on without doing so."""
        host, _, port = self.address.rpartition(":")
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), timeout=2).close()
            return True
        return False

    def _add(self, *arguments: str) -> None:
        with self._log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.campaign.node", self.address, self._folder.name, *arguments],
                env={**_environment(), **self._env}, stdout=log, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        self._nodes.append(process)
        self._started[process.pid] = time.monotonic()

    def _end(self, nodes: list["subprocess.Popen[str]"]) -> None:
        for node in nodes:
            end(node)


class NoArena:
    """No standing cluster: each driver starts its own."""

    def __init__(self, troubles: Path, *, extra: dict[str, str]) -> None:
        self.env = {"RAY_USAGE_STATS_ENABLED": "0", "XLHARM_TROUBLES": str(troubles), **extra}
        self.address = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def pids(self) -> set[int]:
        return set()

    def state(self) -> str:
        return "each driver starts its own cluster"

    def mend(self) -> None:
        pass

    def can_be_joined(self) -> bool:
        return True


class Drivers:
    """Starts a driver again by the same command whenever it has ended before the grid was done.

    Attributes:
        lines: the last line of each driver that ended by itself before the grid was done, with its exit code.
        current: the running driver.
    """

    def __init__(self, command: list[str], *, env: dict[str, str], log: Path) -> None:
        self._command, self._env, self._log = command, env, log
        self.lines: list[str] = []
        self.current: subprocess.Popen[str] | None = None
        self._ended: list[subprocess.Popen[str]] = []
        self.starts = 0

    def runs(self) -> bool:
        """Whether a driver runs."""
        return self.current is not None and self.current.poll() is None

    def ensure(self, *, may_start: bool) -> int | None:
        """Start a driver if none runs and there is a cluster; return the exit code of one that has just ended."""
        code = None
        if self.current is not None:
            code = self.current.poll()
            if code is None:
                return None
            if code:
                self.lines.append(f"{code}: {_last_line(self._log)}")
            self._ended.append(self.current)
        self.current = None
        if code != 0 and may_start:
            self.current = self._start()
        return code

    def _start(self) -> "subprocess.Popen[str]":
        self.starts += 1
        with self._log.open("a") as log:
            log.write(f"=== driver {self.starts}\n")
            log.flush()
            return subprocess.Popen(
                self._command, env={**_environment(), **self._env}, stdout=log, stderr=subprocess.STDOUT, text=True,
                start_new_session=True,
            )  # fmt: skip

    def second(self) -> "subprocess.Popen[str]":
        """Start another driver beside the current one."""
        process = start(self._command, **self._env)
        self._ended.append(process)
        return process

    def state(self) -> str:
        """Return whether a driver runs, and the last line of the drivers' log."""
        runs = "a driver runs" if self.runs() else "no driver runs"
        return f"{runs} ({self.starts} started), the last line is: {_last_line(self._log)}"

    def wait_for_the_ended(self) -> None:
        """Wait until second drivers have been killed: what they leave is for the next run to clear away."""
        for process in self._ended:
            process.wait(timeout=60)

    def pids(self) -> set[int]:
        """Return the processes of the current driver's own cluster, itself excluded."""
        return session_of(self.current) if self.current is not None else set()

    def left(self) -> list[str]:
        """Return the command lines of processes that ended drivers have left."""
        return [command_of(pid)[:100] for process in self._ended for pid in session_of(process)]

    def end(self) -> None:
        for process in [*self._ended, *([self.current] if self.current else [])]:
            end(process)


def end(process: "subprocess.Popen[str]") -> None:
    """Kill a process and its session."""
    for _ in range(3):
        for pid in {*session_of(process), *([process.pid] if process.poll() is None else [])}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def ended(drivers: Drivers) -> Iterator[Drivers]:
    """Kill what is left of drivers at the end."""
    try:
        yield drivers
    finally:
        drivers.end()


def _free_port() -> int:
    """Return a port that nothing listens on, and that Linux gives to nobody who asks for any."""
    for port in random.sample(_PORTS, k=100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise RuntimeError("no free port")


def _environment() -> dict[str, str]:
    from tests.faults.processes import environment

    return {**environment(), "PYTHONDONTWRITEBYTECODE": "1"}


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
