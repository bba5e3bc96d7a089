"""A process beside a run that mirrors the store while the run fills it.

It is `xlharm wandb sync --follow`. The run only starts it and, at its end, waits for it for a limited time, so that
W&B can neither delay a stage nor make one fail.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from xlharm.errors import UserError

LOG = "xlharm-live.log"
FOLLOW = (sys.executable, "-c", "from xlharm.cli.main import main; main()", "wandb", "sync")


class Live:
    """The process.

    Args:
        command: what to start; it ends when its standard input does.
        folder: its output goes to ``wandb/xlharm-live.log`` in there.

    Attributes:
        log: its output.

    Raises:
        UserError: the log cannot be written.
    """

    def __init__(self, command: Sequence[str], *, folder: Path) -> None:
        self.log = folder / "wandb" / LOG
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            output = self.log.open("ab")
        except OSError as error:
            raise UserError(f"{self.log}: cannot be written: {error.strerror or error}") from None
        with output:
            # in a session of its own: Ctrl-C is for the run, which then says that it is over
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
            )

    def end(self, *, seconds: float) -> bool:
        """Say that the run is over; return whether everything was sent within so many seconds."""
        if self._process.stdin:
            with contextlib.suppress(OSError):  # it has ended already
                self._process.stdin.close()
        try:
            return self._process.wait(timeout=seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            if self._process.poll() is None:  # also after another Ctrl-C
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
