"""SIGINT and SIGTERM as a flag, so that a run can save its state before it ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Stop:
    """Whether somebody asked us to stop: SIGINT or SIGTERM. A second one ends at once."""

    def __init__(self) -> None:
        self.hit = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals (main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's form
        if self.hit:
            raise KeyboardInterrupt
        self.hit = True


@contextlib.contextmanager
def interruptions() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a flag."""
    stop = Stop()
    stop.install()
    try:
        yield stop
    finally:
        stop.restore()
