"""The actor that runs packs: one process with one device, which loads the base once."""

import os
import socket
import threading
import time
from dataclasses import replace
from typing import Any

from xlharm.engine.executor import load_runner
from xlharm.engine.trouble import Trouble, trouble_of
from xlharm.stages.job import PackJob, Progress, RunnerConfig, StageResult

CONTROL = "control"  # concurrency group of calls that must not wait until a pack ends
OWNER_SILENT = 60.0  # a warm worker's driver counts as lost after so many seconds without a call
_IDLE_SECONDS = 900.0  # a warm worker ends after so many seconds without a call


class Worker:
    """The class of the actors. Calls return errors as data: an exception in Ray means that the process is lost."""

    def __init__(self, *, warm: bool = False) -> None:
        self._runner: Any = None
        self._progress: Progress | None = None
        self._busy = False
        self._stopping = ""  # id of the pack that must save its state and end
        self._owner = ""
        self._last_call = time.monotonic()
        if warm:
            threading.Thread(target=self._end_when_idle, daemon=True).start()

    def endpoint(self) -> str:
        """Return "host:port" of a free port on this machine, for the rendezvous of a process group."""
        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"

    def setup(self, config: RunnerConfig, runner: str, master: str | None = None) -> int | Trouble | None:
        """Load the base; return the device's memory in bytes (None without a device), or why this failed."""
        try:
            if self._runner is None:
                self._runner = load_runner(runner, replace(config, master=master))
            room: int | None = self._runner.room()
        except Exception as error:  # noqa: BLE001 - trouble_of classifies every error for the driver
            return trouble_of(error)
        return room

    def run(self, job: PackJob) -> list[StageResult] | Trouble:
        """Run a pack; return its results, or why it failed."""
        self._busy = True
        try:
            return list(self._runner.run(job, report=self._report, stopping=lambda: self._stopping == job.id))
        except Exception as error:  # noqa: BLE001 - trouble_of classifies every error for the driver
            return trouble_of(error)
        finally:
            self._progress, self._busy = None, False

    def progress(self) -> Progress | None:
        """Return the progress of the running pack (control group)."""
        self._last_call = time.monotonic()
        return self._progress

    def here(self) -> str:
        """Return the process and its machine, in words (control group)."""
        import ray

        return f"process {os.getpid()} on {ray.util.get_node_ip_address()}"

    def stop(self, pack: str) -> None:
        """Ask a pack to save its state at its next step and end (control group)."""
        self._stopping = pack

    def adopt(self, owner: str) -> str:
        """Make a driver the owner of this warm worker, if it is free (control group).

        Returns:
            `adopted`; `taken` when a living driver owns the worker; `busy` with the pack of a lost driver.
        """
        owner_alive = time.monotonic() - self._last_call < OWNER_SILENT
        if self._owner not in {"", owner} and owner_alive:
            return "taken"
        self._last_call = time.monotonic()
        if self._busy:
            return "busy"
        self._owner, self._stopping = owner, ""  # this driver may run the pack that the last one stopped
        return "adopted"

    def release(self) -> None:
        """Give up the ownership of this warm worker (control group)."""
        self._owner = ""
        self._last_call = time.monotonic()

    def _report(self, progress: Progress) -> None:
        self._progress = progress

    def _end_when_idle(self) -> None:
        while self._busy or time.monotonic() - self._last_call < _IDLE_SECONDS:
            time.sleep(5.0)
        os._exit(0)
