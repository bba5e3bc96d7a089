"""Attention on the CPU, in both precisions; tests/model/test_gpu.py has its scores on a GPU."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xlharm.errors import UserError
from xlharm.model.attention import attend, attend_within, attention_scores, refuse_unknown, scaled_by_place


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_scores_and_gradients_in_float32_are_those_of_plain_products(softcap: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, n, 16, generator=generator, requires_grad=True) for n in (5, 7))
    weights = torch.randn(2, 3, 5, 7, generator=generator)
    plain = torch.matmul(query, key.transpose(-1, -2)) * 0.25
    expected = plain if softcap is None else softcap * torch.tanh(plain / softcap)
    scores = attention_scores(query, key, 0.25, softcap=softcap)
    torch.testing.assert_close(scores, expected, rtol=0, atol=0)
    for mine, theirs in zip(
        torch.autograd.grad((scores * weights).sum(), (query, key)),
        torch.autograd.grad((expected * weights).sum(), (query, key)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_scores_of_bfloat16_are_exact_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = ((3 * torch.randn(4, 2, n, 128, generator=generator)).bfloat16() for n in (4, 96))
    exact = torch.matmul(query.double(), key.double().transpose(-1, -2)) * 128**-0.5
    rounded = torch.matmul(query, key.transpose(-1, -2)).float() * 128**-0.5
    scores = attention_scores(query, key, 128**-0.5, softcap=None)
    assert float((scores.softmax(-1) - exact.softmax(-1)).abs().max()) < 1e-5
    assert float((rounded.softmax(-1) - exact.softmax(-1)).abs().max()) > 1e-2


def test_a_sink_takes_weight_and_has_no_value() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, h, 5, n, generator=generator) for h, n in ((4, 8), (2, 8), (2, 6)))
    sinks = torch.tensor([-1e9, 0.0, 2.0, 1e9])
    attended = attend(q, k, v, scaling=0.3, sinks=sinks)
    keys, values = (x.repeat_interleave(2, dim=1) for x in (k, v))
    scores = (q @ keys.transpose(2, 3) * 0.3).masked_fill(~torch.ones(5, 5).tril().bool(), float("-inf"))
    weights = torch.cat([scores, sinks.view(1, 4, 1, 1).expand(2, 4, 5, 1)], -1).softmax(-1)[..., :-1]
    torch.testing.assert_close(attended, weights @ values)
    torch.testing.assert_close(attended[:, 0], attend(q, k, v, scaling=0.3)[:, 0])
    assert float(attended[:, 3].abs().max()) == 0.0


@pytest.mark.parametrize("window", [None, 1, 3, 9])
def test_fused_attention_is_that_with_all_scores_in_memory(window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, h, 7, n, generator=generator) for h, n in ((4, 8), (2, 8), (2, 6)))
    mask = torch.ones(7, 7, dtype=torch.bool).tril().triu(-7 if window is None else 1 - window)
    attended = attend_within(q, k, v, scaling=0.3, window=window, softcap=None, sinks=None)
    torch.testing.assert_close(attended, attend(q, k, v, scaling=0.3, window=mask))


def test_queries_get_the_scale_of_their_place_in_their_row() -> None:
    module = SimpleNamespace(attn_temperature_tuning=True, use_rope=False, floor_scale=2.0, attn_scale=0.5)
    query = torch.ones(1, 3, 4, 2)
    index = torch.log1p(torch.floor((torch.arange(4.0) + 1) / 2)) * 0.5 + 1
    scaled = scaled_by_place(module, query * index[:, None], torch.tensor([[0, 1, 0, 1]]))
    torch.testing.assert_close(scaled[0, 0, :, 0], index[[0, 1, 0, 1]])
    module.use_rope = True
    assert scaled_by_place(module, query, torch.tensor([[0, 1, 0, 1]])) is query


def test_what_else_attention_may_be_told_is_refused() -> None:
    refuse_unknown(nn.Identity(), length=9, others={"dropout": 0.0, "is_causal": True, "position_bias": None})
    some = torch.ones(1)
    for name, value in {"position_bias": 3.0, "indices": some, "is_causal": False, "attention_mask": some}.items():
        with pytest.raises(UserError, match=name):
            refuse_unknown(nn.Identity(), length=9, others={name: value})
