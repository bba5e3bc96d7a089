"""The first signal asks a run to stop; the second ends it."""

import os
import signal
import threading

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
