"""SIGINT and SIGTERM set a flag, so that a run can save its state before it ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class StopFlag:
    """Whether SIGINT or SIGTERM has arrived. A second signal raises KeyboardInterrupt.

    Attributes:
        requested: True after the first signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Install the handlers; does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)

    def restore(self) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature that the signal module calls
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def interruptions() -> Iterator[StopFlag]:
    """Turn the first SIGINT or SIGTERM into a flag."""
    stop = StopFlag()
    stop.install()
    try:
        yield stop
    finally:
        stop.restore()
