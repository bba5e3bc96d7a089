"""SIGINT, SIGTERM and SIGHUP set a flag, so that a run can save its state before it ends."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_OUTPUTS = (1, 2)  # file descriptors of standard output and errors


class StopFlag:
    """Whether SIGINT, SIGTERM or SIGHUP has arrived. A second SIGINT or SIGTERM raises KeyboardInterrupt.

    SIGHUP says that the terminal is gone: what is written to it from then on goes nowhere. It stays ignored where it
    was ignored before (`nohup`).

    Attributes:
        requested: True after the first signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}
        self._terminals = [output for output in _OUTPUTS if os.isatty(output)]

    def install(self) -> None:
        """Install the handlers; does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)

    def restore(self) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature that the signal module calls
        if number == signal.SIGHUP:
            self._drop_terminals()
        elif self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def _drop_terminals(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for output in self._terminals:
            os.dup2(nowhere, output)
        os.close(nowhere)


@contextlib.contextmanager
def interruptions() -> Iterator[StopFlag]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a flag."""
    stop = StopFlag()
    stop.install()
    try:
        yield stop
    finally:
        stop.restore()
