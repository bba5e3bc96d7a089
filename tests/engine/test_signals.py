"""The first signal asks a run to stop; the second ends it."""

import os
import pty
import signal
import sys
import threading
from pathlib import Path

import pytest

from xlharm.engine.signals import StopFlag, interruptions


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_a_flag_and_the_second_an_exception(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interruptions() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_terminal_that_is_closed_is_a_flag_however_often_it_says_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup make test` has it ignored
    try:
        with interruptions() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_terminal_as_nohup_starts_it_nothing_stops() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptions() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


SAVING = """
import signal, sys, time
from pathlib import Path
from xlharm.engine.signals import interruptions
with interruptions() as stop:
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print("stopping: saving the state", flush=True)
    print("told to both", file=sys.stderr, flush=True)
    Path(sys.argv[1]).write_text("saved")
"""


def test_what_is_said_to_a_closed_terminal_does_not_keep_the_state_from_being_saved(tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if not child:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup make test` has it ignored
        os.execv(sys.executable, [sys.executable, "-c", SAVING, str(tmp_path / "state")])  # noqa: S606 - the child of a new terminal
    while b"ready" not in os.read(terminal, 100):
        pass
    os.close(terminal)  # the kernel sends SIGHUP, and every write to the terminal fails from now on
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "state").read_text() == "saved"


def test_taking_over_twice_still_gives_back_what_was_there() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = StopFlag()
    stop.install()
    stop.install()
    stop.restore()
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with interruptions():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
