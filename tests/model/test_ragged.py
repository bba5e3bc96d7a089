"""Concatenated rows: the same results as each row alone, for all lengths, and no row affects another."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from xlharm.model.base import decoder
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.ragged import ALIGNED, Ragged, last_states

pytestmark = pytest.mark.slow

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
MIXED = ["sliding_attention", "full_attention"]
BASES = {
    "llama": LlamaConfig(**SMALL),
    "qwen3": Qwen3Config(**SMALL),
    "window of 4": MistralConfig(**SMALL, sliding_window=4),
    "windows in turns": Gemma3TextConfig(**SMALL, sliding_window=4, layer_types=MIXED),
}
GROUPS = [[(3, 5, 7, 9, 11), (1, 2)], [(8,), tuple(range(20, 33)), (4, 4, 4)], [(9, 8, 7), (6, 5, 4)]]
EQUAL = [[(3, 5, 7, 9, 11, 1, 2, 3), (1, 2, 4, 5, 6, 6, 7, 8)]] * 2


def base(name: str) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = AutoModelForCausalLM.from_config(BASES[name], attn_implementation="sdpa")
    return model.requires_grad_(requires_grad=False).eval()


def adapted(model: nn.Module, *, rank: int) -> tuple[StackedModel, Tensor]:
    """Return a base with adapter layers, and three adapters that change it."""
    layout = layout_of(model, rank=rank, alpha=6, targets=("q_proj", "o_proj", "up_proj", "down_proj"))
    generator = torch.Generator().manual_seed(1)
    return StackedModel(model, layout), torch.randn(3, layout.size, generator=generator) * 0.1


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(("rank", "uneven"), [(4, True), (3, False)])
@pytest.mark.parametrize("groups", [GROUPS, EQUAL], ids=["ragged", "equal"])
@pytest.mark.parametrize("steady", [None, 15, "padded"])
def test_rows_and_their_gradients_are_those_of_each_row_alone(
    name: str, rank: int, uneven: bool, groups: Any, steady: int | str | None
) -> None:
    stacked, values = adapted(base(name), rank=rank)
    assert stacked.uneven == uneven  # three floats are not whole 16 bytes
    values = values[: len(groups)]
    if steady == "padded":
        ragged = Ragged.padded_rows(groups)
    else:
        assert not isinstance(steady, str)
        ragged = Ragged.of(groups, uneven=uneven, steady=steady if uneven else None)
    together = values.clone().requires_grad_()
    with stacked.adapters(together, ends=ragged.ends):
        states = last_states(stacked.model, ragged)
    alone = values.clone().requires_grad_()
    loss = torch.zeros(())
    for k, rows in enumerate(groups):
        at = ragged.starts[k]
        for row in rows:
            with stacked.adapters(alone[k : k + 1]):
                states_alone = decoder(stacked.model)(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state[
                    0
                ]
            torch.testing.assert_close(states[at : at + len(row)], states_alone, rtol=1e-4, atol=1e-5)
            loss = loss + states_alone.sin().sum() - states[at : at + len(row)].sin().sum()
            at += len(row)
    loss.backward()
    assert together.grad is not None
    assert float(together.grad.norm()) > 1
    torch.testing.assert_close(-together.grad, alone.grad, rtol=1e-3, atol=1e-4)


@given(lengths=st.lists(st.lists(st.integers(1, 90), min_size=3, max_size=3), min_size=2, max_size=5))
def test_steady_rows_have_few_shapes_and_little_more_than_their_tokens(lengths: list[list[int]]) -> None:
    groups = [[(1,) * n for n in rows] for rows in lengths]
    ragged = Ragged.of(groups, steady=90)
    tokens, rows, places, uneven = ragged.shape
    exact = sum(-(-sum(mine) // ALIGNED) * ALIGNED for mine in lengths)
    assert exact <= tokens < exact + max(ALIGNED, exact / 8)
    assert tokens % (1 << (exact.bit_length() - 4)) == 0 or exact < 16 * ALIGNED
    assert (places, uneven) == (128, True)
    assert rows == 3 * len(groups) + 1  # whatever the lengths: what fills the last group has a row of its own
    assert int(ragged.positions.max()) < 90
    assert ragged.gather is not None
    assert ragged.gather.shape == (tokens,)


def test_groups_are_aligned_and_only_their_last_rows_are_filled_up() -> None:
    ragged = Ragged.of(GROUPS)
    assert ragged.starts == (0, 8, 32)
    assert ragged.ends is not None
    assert ragged.ends.tolist() == [8, 32, 40]
    assert all(end % ALIGNED == 0 for end in ragged.ends.tolist())
    assert ragged.positions[0, 8:32].tolist() == [0, *range(13), *range(10)]
    assert ragged.ids[0, 22:32].tolist() == [4, 4, 4, *[8] * 7]
    even = Ragged.of(GROUPS, uneven=False)
    assert even.ends is None
    assert even.ids.numel() == 3 * 24
    assert Ragged.of(EQUAL).spread is None


@given(
    lengths=st.lists(st.lists(st.sampled_from([5, 16, 90]), min_size=1, max_size=3), min_size=1, max_size=4),
    uneven=st.booleans(), steady=st.sampled_from([None, 90]),
)  # fmt: skip
def test_examples_are_of_the_same_kind_and_of_sizes_of_their_own(
    lengths: list[list[int]], uneven: bool, steady: int | None
) -> None:
    groups = [[(1,) * n for n in rows] for rows in lengths]
    ragged = Ragged.of(groups, uneven=uneven, steady=steady if uneven else None)
    example = ragged.example()
    assert example.kind == ragged.kind
    assert example.shape == example.example().shape
    assert len(example.starts) == min(len(groups), 2)
    assert 512 <= example.ids.numel() <= 1024


def test_filling_up_makes_no_row_longer_than_the_longest() -> None:
    rows = [[(1,) * 3], [(2,) * 10] * 5]
    ragged = Ragged.of(rows, uneven=False)
    assert ragged.starts == (0, 56)
    assert int(ragged.positions.max()) == 9
    assert ragged.positions[0, :56].tolist() == [*range(10), *range(10), *range(10), *range(10), *range(10), *range(6)]
