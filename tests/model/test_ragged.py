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
    PhimoeConfig,
    Qwen3Config,
    StableLmConfig,
)

from xlharm.errors import UserError
from xlharm.model.base import decoder
from xlharm.model.lora import StackedModel, layout_of
from xlharm.model.ragged import ALIGNED, Ragged, check_ragged, last_states, refuse_unknown

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
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
ODD = {
    "mask's window": PhimoeConfig(**SMALL, sliding_window=16, num_local_experts=2),
    "stablelm": StableLmConfig(**{k: v for k, v in SMALL.items() if k != "head_dim"}),
}
GROUPS = [[(3, 5, 7, 9, 11), (1, 2)], [(8,), tuple(range(20, 33)), (4, 4, 4)], [(9, 8, 7), (6, 5, 4)]]
EQUAL = [[(3, 5, 7, 9, 11, 1, 2, 3), (1, 2, 4, 5, 6, 6, 7, 8)]] * 2


def base(name: str) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = AutoModelForCausalLM.from_config({**BASES, **ODD}[name], attn_implementation="sdpa")
    return model.requires_grad_(requires_grad=False).eval()


def adapted(model: nn.Module, *, rank: int) -> tuple[StackedModel, Tensor]:
    """Return a base with adapter layers, and three adapters that change it."""
    layout = layout_of(model, rank=rank, alpha=6, targets=("q_proj", "o_proj", "up_proj", "down_proj"))
    generator = torch.Generator().manual_seed(1)
    return StackedModel(model, layout), torch.randn(3, layout.size, generator=generator) * 0.1


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(("rank", "uneven"), [(4, True), (3, False)])
@pytest.mark.parametrize("groups", [GROUPS, EQUAL], ids=["ragged", "equal"])
@pytest.mark.parametrize("steady", [None, 15])
def test_rows_and_their_gradients_are_those_of_each_row_alone(
    name: str, rank: int, uneven: bool, groups: Any, steady: int | None
) -> None:
    stacked, values = adapted(base(name), rank=rank)
    assert stacked.uneven == uneven  # three floats are not whole 16 bytes
    values = values[: len(groups)]
    ragged = Ragged.of(groups, pad=63, uneven=uneven, steady=steady if uneven else None)
    together = values.clone().requires_grad_()
    with stacked.adapters(together, ends=ragged.ends):
        states = last_states(stacked.model, ragged)
    alone = values.clone().requires_grad_()
    loss = torch.zeros(())
    for k, rows in enumerate(groups):
        at = ragged.starts[k]
        for row in rows:
            with stacked.adapters(alone[k : k + 1]):
                told = decoder(stacked.model)(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state[0]
            torch.testing.assert_close(states[at : at + len(row)], told, rtol=1e-4, atol=1e-5)
            loss = loss + told.sin().sum() - states[at : at + len(row)].sin().sum()
            at += len(row)
    loss.backward()
    assert together.grad is not None
    assert float(together.grad.norm()) > 1
    torch.testing.assert_close(-together.grad, alone.grad, rtol=1e-3, atol=1e-4)


@given(lengths=st.lists(st.lists(st.integers(1, 90), min_size=3, max_size=3), min_size=2, max_size=5))
def test_steady_rows_have_few_shapes_and_little_more_than_their_tokens(lengths: list[list[int]]) -> None:
    groups = [[(1,) * n for n in rows] for rows in lengths]
    ragged = Ragged.of(groups, pad=0, steady=90)
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
    ragged = Ragged.of(GROUPS, pad=63)
    assert ragged.starts == (0, 8, 32)
    assert ragged.ends is not None
    assert ragged.ends.tolist() == [8, 32, 40]
    assert all(end % ALIGNED == 0 for end in ragged.ends.tolist())
    assert ragged.positions[0, 8:32].tolist() == [0, *range(13), *range(10)]
    assert ragged.ids[0, 22:32].tolist() == [4, 4, 4, *[63] * 7]
    even = Ragged.of(GROUPS, pad=63, uneven=False)
    assert even.ends is None
    assert even.ids.numel() == 3 * 24
    assert Ragged.of(EQUAL, pad=63).spread is None


@given(
    lengths=st.lists(st.lists(st.sampled_from([5, 16, 90]), min_size=1, max_size=3), min_size=1, max_size=4),
    uneven=st.booleans(), steady=st.sampled_from([None, 90]),
)  # fmt: skip
def test_examples_are_of_the_same_kind_and_of_sizes_of_their_own(
    lengths: list[list[int]], uneven: bool, steady: int | None
) -> None:
    groups = [[(1,) * n for n in rows] for rows in lengths]
    ragged = Ragged.of(groups, pad=0, uneven=uneven, steady=steady if uneven else None)
    example = ragged.example()
    assert example.kind == ragged.kind
    assert example.shape == example.example().shape
    assert len(example.starts) == min(len(groups), 2)
    assert 512 <= example.ids.numel() <= 1024


class Leaky(nn.Module):
    """A layer that mixes each token with the one before, as a convolution would."""

    def forward(self, x: Tensor, **_others: Any) -> Tensor:
        return x + 0.5 * x.roll(1, dims=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", BASES)
def test_known_bases_pass_the_check(name: str, dtype: torch.dtype) -> None:
    check_ragged(base(name).to(dtype), longest=40, device=CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_base_that_mixes_tokens_elsewhere_is_refused(dtype: torch.dtype) -> None:
    model = base("llama").to(dtype)
    decoder(model).layers.insert(1, Leaky())
    with pytest.raises(UserError, match="LlamaForCausalLM mixes tokens"):
        check_ragged(model, longest=20, device=CPU)


def test_a_window_that_only_a_mask_tells_of_is_refused_where_rows_reach_beyond_it() -> None:
    model = base("mask's window")
    check_ragged(model, longest=16, device=CPU)
    with pytest.raises(UserError, match="PhimoeForCausalLM mixes tokens"):
        check_ragged(model, longest=40, device=CPU)


def test_what_else_attention_may_be_told_is_refused() -> None:
    refuse_unknown(nn.Identity(), length=9, others={"dropout": 0.0, "is_causal": True, "s_aux": None})
    some = torch.ones(1)
    for name, value in {"s_aux": 3.0, "indices": some, "is_causal": False, "attention_mask": some}.items():
        with pytest.raises(UserError, match=name):
            refuse_unknown(nn.Identity(), length=9, others={name: value})


def test_a_base_that_keeps_what_it_is_passed_from_its_attention_is_one_line() -> None:
    model = base("stablelm")
    with pytest.raises(UserError, match="StableLmForCausalLM cannot run concatenated rows"):
        check_ragged(model, longest=9, device=CPU)


def test_filling_up_makes_no_row_longer_than_the_longest() -> None:
    rows = [[(1,) * 3], [(2,) * 10] * 5]
    ragged = Ragged.of(rows, pad=63, uneven=False)
    assert ragged.starts == (0, 56)
    assert int(ragged.positions.max()) == 9
    assert ragged.positions[0, :56].tolist() == [*range(10), *range(10), *range(10), *range(10), *range(10), *range(6)]
