"""Which rows of a batch a rank computes."""

import pytest
import torch

from xlharm.train.slots import BatchShare


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("micro", [None, 1, 2, 5])
def test_ranks_share_a_batch_in_as_many_micro_batches(size: int, world: int, micro: int | None) -> None:
    shares = [BatchShare(rank=rank, world=world, micro=micro).micro_batches(size) for rank in range(world)]
    assert sorted(row for rank in shares for micro_batch in rank for row in micro_batch) == list(range(size))
    assert len({len(rank) for rank in shares}) == 1  # empty ones keep ranks in step
    assert max(len(micro_batch) for rank in shares for micro_batch in rank) <= (micro or size)


def test_memory_may_ask_for_fewer_rows_but_not_for_more() -> None:
    assert BatchShare(micro=2).micro_batches(4, micro=1) == [[0], [1], [2], [3]]
    assert BatchShare(micro=2).micro_batches(4, micro=4) == [[0, 1], [2, 3]]


def test_a_single_process_is_both_extremes() -> None:
    assert BatchShare().extremes(7, device=torch.device("cpu")) == (7, 7)
