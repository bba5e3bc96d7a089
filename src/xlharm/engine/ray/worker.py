"""The actor that holds a runner: one process, one device, the base loaded once."""

import os
import socket
import threading
import time
from dataclasses import replace
from typing import Any

from xlharm.engine.executor import load_runner
from xlharm.engine.trouble import Trouble, trouble_of
from xlharm.stages.job import PackJob, Progress, RunnerConfig, StageResult

CONTROL = "control"  # the concurrency group of calls that must not queue behind a pack
OWNER_SILENT = 60.0  # seconds after which a warm worker's driver is taken to be gone
_IDLE_SECONDS = 900.0  # a warm worker nobody asked for ends after this time


class Worker:
    """Body of the actor. Every call returns plain data: an exception here would mean a lost process."""

    def __init__(self, *, warm: bool = False) -> None:
        self._runner: Any = None
        self._progress: Progress | None = None
        self._busy = False
        self._stopping = ""  # the pack that is to save its state and end
        self._owner = ""
        self._heard = time.monotonic()
        if warm:
            threading.Thread(target=self._end_when_idle, daemon=True).start()

    def endpoint(self) -> str:
        """Return "host:port" for a process group's rendezvous on this machine."""
        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"

    def setup(self, config: RunnerConfig, runner: str, master: str | None = None) -> int | Trouble | None:
        """Load the base; returns the device's memory in bytes (None where there is no device), or what went wrong."""
        try:
            if self._runner is None:
                self._runner = load_runner(runner, replace(config, master=master))
            room: int | None = self._runner.room()
        except Exception as error:  # noqa: BLE001 - all of it is classified for the driver
            return trouble_of(error)
        return room

    def run(self, job: PackJob) -> list[StageResult] | Trouble:
        """Run a pack; returns its results or what went wrong."""
        self._busy = True
        try:
            return list(self._runner.run(job, report=self._report, stopping=lambda: self._stopping == job.id))
        except Exception as error:  # noqa: BLE001 - all of it is classified for the driver
            return trouble_of(error)
        finally:
            self._progress, self._busy = None, False

    def progress(self) -> Progress | None:
        """Return how far the running pack is (control group)."""
        self._heard = time.monotonic()
        return self._progress

    def here(self) -> None:
        """Answer, which says that the process is there (control group)."""

    def stop(self, pack: str) -> None:
        """Ask a pack to save its state at its next step and end (control group)."""
        self._stopping = pack

    def adopt(self, owner: str) -> str:
        """A driver asks for a warm worker (control group).

        Returns:
            `mine`; `taken` by a living driver; or `busy` with a pack of a driver that is gone.
        """
        heard_lately = time.monotonic() - self._heard < OWNER_SILENT
        if self._owner not in {"", owner} and heard_lately:
            return "taken"
        self._heard = time.monotonic()
        if self._busy:
            return "busy"
        self._owner, self._stopping = owner, ""  # what the last driver stopped, this one may want
        return "mine"

    def let_go(self) -> None:
        """The driver is done with this warm worker (control group)."""
        self._owner = ""
        self._heard = time.monotonic()

    def _report(self, progress: Progress) -> None:
        self._progress = progress

    def _end_when_idle(self) -> None:
        while self._busy or time.monotonic() - self._heard < _IDLE_SECONDS:
            time.sleep(5.0)
        os._exit(0)
