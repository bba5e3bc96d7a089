"""Attention scores on the CPU, in both precisions; tests/model/test_gpu.py has them on a GPU."""

import pytest
import torch

from xlharm.model.ragged import attention_scores


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_scores_and_gradients_in_float32_are_those_of_plain_products(softcap: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, n, 16, generator=generator, requires_grad=True) for n in (5, 7))
    weights = torch.randn(2, 3, 5, 7, generator=generator)
    plain = torch.matmul(query, key.transpose(-1, -2)) * 0.25
    expected = plain if softcap is None else softcap * torch.tanh(plain / softcap)
    found = attention_scores(query, key, 0.25, softcap=softcap)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), (query, key)),
        torch.autograd.grad((expected * weights).sum(), (query, key)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_scores_of_bfloat16_are_exact_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = ((3 * torch.randn(4, 2, n, 128, generator=generator)).bfloat16() for n in (4, 96))
    exact = torch.matmul(query.double(), key.double().transpose(-1, -2)) * 128**-0.5
    rounded = torch.matmul(query, key.transpose(-1, -2)).float() * 128**-0.5
    found = attention_scores(query, key, 128**-0.5, softcap=None)
    assert float((found.softmax(-1) - exact.softmax(-1)).abs().max()) < 1e-5
    assert float((rounded.softmax(-1) - exact.softmax(-1)).abs().max()) > 1e-2
