"""Which ZeRO stage a worker runs on."""

import pytest

from xlharm.errors import UserError
from xlharm.plan.sharding import Offload, zero_stage


@pytest.mark.parametrize(
    ("ranks", "offload", "stage"),
    [(1, None, 0), (4, None, 2), (1, "optimizer", 2), (1, "params", 3), (2, "params", 3), (2, "both", 3)],
)
def test_the_lowest_stage_that_serves(ranks: int, offload: Offload | None, stage: int) -> None:
    assert zero_stage(None, ranks=ranks, offload=offload) == stage


def test_a_higher_stage_can_be_asked_for() -> None:
    assert zero_stage(3, ranks=2, offload="optimizer") == 3
    assert zero_stage(0, ranks=2, offload=None) == 0


def test_a_stage_that_cannot_offload_that() -> None:
    with pytest.raises(UserError, match="--zero 2: --offload params needs --zero 3"):
        zero_stage(2, ranks=2, offload="params")
    with pytest.raises(UserError, match="--zero 0: --offload optimizer needs --zero 2"):
        zero_stage(0, ranks=1, offload="optimizer")
    with pytest.raises(UserError, match="--zero 1: expected 0, 2 or 3"):
        zero_stage(1, ranks=2, offload=None)
