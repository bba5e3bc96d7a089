"""What Ray's errors mean. Starts nothing."""

import pytest
from ray.exceptions import (
    AuthenticationError,
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    OwnerDiedError,
    RayActorError,
    RpcError,
)

from xlharm.engine.ray.gang import Gang, ray_trouble
from xlharm.engine.trouble import Trouble

# Ray 2.60's own text, shortened
FULL = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 63d2) was "
    "{used}GB used / 23.54GB limit (0.97)\nOOM kill reason: Memory usage 1B exceeded threshold of 1B (5.0% of 2B limit)"
    "\nConsidered workers: [\nSelected to kill: (Actor(7217): job ID=01000000, lease ID=0000, task name=Worker.run, "
    "required resources={{CPU: 1}}, pid=6457, actual memory used={own}GB, worker ID=a37b)\n(Actor(7218): pid=6458, "
    "actual memory used=21.00GB, worker ID=a37c)\n]\nTop 10 memory users: PID\tMEM(GB)\tCOMMAND\n4080\t21.0\tother"
)


def test_a_machine_that_others_fill_is_no_fault_of_the_pack() -> None:
    trouble = ray_trouble(OutOfMemoryError(FULL.format(used="22.90", own="1.40")))
    assert (trouble.kind, trouble.lost) == ("memory_taken", True)
    assert trouble.message == (
        "other processes fill the machine's memory (22.9 of 23.5 GB, of which this worker 1.4 GB)"
    )
    assert ray_trouble(OutOfMemoryError("the node was running low on memory")).kind == "memory_taken"


def test_a_worker_that_fills_its_machine_is_too_large() -> None:
    trouble = ray_trouble(OutOfMemoryError(FULL.format(used="22.90", own="20.10")))
    assert (trouble.kind, trouble.lost) == ("out_of_memory", True)
    assert "it used 20.1 of 23.5 GB" in trouble.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NodeDiedError("its node died"), "node_died"),
        (AuthenticationError("RPC error: WrongClusterID"), "node_died"),
        (LocalRayletDiedError(), "node_died"),
        (OwnerDiedError("00" * 28, None, ""), "node_died"),
        (RpcError("unavailable"), "node_died"),
        (RayActorError(), "crashed"),
        (ValueError("x"), "error"),
    ],
)
def test_a_call_without_an_answer_means_that_the_process_is_lost(error: Exception, kind: str) -> None:
    trouble = ray_trouble(error)
    assert (trouble.kind, trouble.lost) == (kind, True)


@pytest.mark.parametrize(("lost", "kept"), [(True, False), (False, True)])
def test_a_worker_that_reported_too_little_memory_itself_goes_on(lost: bool, kept: bool) -> None:
    gang = Gang(name="w", actors=[object()], doing="running")
    gang._answers = {0: Trouble(kind="out_of_memory", message="too large", lost=lost)}
    assert gang.take_result()[2] is not kept
