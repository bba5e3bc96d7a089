"""Weight-only rounding by hand, and a merged model against dense arithmetic."""

from pathlib import Path

import pytest
import torch

from xlharm.model.base import load_base
from xlharm.model.lora import StackedModel, layout_of
from xlharm.model.quantise import merged_and_quantised, rounded
from xlharm.plan.base_files import folder_base


def test_four_bits_by_hand() -> None:
    # groups of two: scales 7/7 = 1 and 3.5/7 = 0.5
    weight = torch.tensor([[7.0, 2.4, -3.5, 0.3]])
    assert rounded(weight, bits=4, group=2).tolist() == [[7.0, 2.0, -3.5, 0.5]]


def test_one_scale_a_row() -> None:
    weight = torch.tensor([[127.0, 0.4, -1.6], [0.0, 0.0, 0.0]])
    assert rounded(weight, bits=8, group=None).tolist() == [[127.0, 0.0, -2.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(("bits", "most"), [(8, 0.5 / 127), (4, 0.5 / 7)])
def test_the_error_is_at_most_half_a_step(bits: int, most: float) -> None:
    weight = torch.randn(16, 100, generator=torch.Generator().manual_seed(0))
    error = (rounded(weight, bits=bits, group=32) - weight).abs()
    largest = torch.cat([p.abs().amax(1, keepdim=True).expand_as(p) for p in weight.split(32, dim=1)], dim=1)
    assert bool((error <= most * largest * (1 + 1e-5)).all())
    assert bool((error > 0).any())


def test_the_adapter_is_merged_before_rounding_and_the_base_comes_back(mini_base: Path) -> None:
    model = load_base(folder_base(mini_base), dtype="float32", device=torch.device("cpu"))
    before = {n: p.clone() for n, p in model.named_parameters()}
    layout = layout_of(model, rank=2, alpha=4, targets=["q_proj"])
    adapter = torch.randn(layout.size, generator=torch.Generator().manual_seed(1))
    stacked = StackedModel(model, layout)
    a, b = adapter[: 2 * 48].view(2, 48), adapter[2 * 48 : 2 * 48 + 48 * 2].view(48, 2)
    with merged_and_quantised(stacked, adapter, bits=8, group=16):
        found = model.get_submodule("model.layers.0.self_attn.q_proj").linear.weight
        expected = rounded(before["model.layers.0.self_attn.q_proj.weight"] + 2.0 * (b @ a), bits=8, group=16)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        down = model.get_submodule("model.layers.1.mlp.down_proj").weight
        torch.testing.assert_close(down, rounded(before["model.layers.1.mlp.down_proj.weight"], bits=8, group=16))
    after = {n.replace(".linear.", "."): p for n, p in model.named_parameters()}
    assert all(torch.equal(after[n], p) for n, p in before.items())
