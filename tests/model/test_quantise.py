"""Weight-only rounding by hand, and a merged model against dense arithmetic."""

from pathlib import Path

import pytest
import torch

from tests.families.small import small_model
from xlharm.errors import UserError
from xlharm.model.base import load_base
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.quantise import merged_and_quantised, rounded
from xlharm.model.targets import all_linear
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
        weight = model.get_submodule("model.layers.0.self_attn.q_proj").linear.weight
        expected = rounded(before["model.layers.0.self_attn.q_proj.weight"] + 2.0 * (b @ a), bits=8, group=16)
        torch.testing.assert_close(weight, expected, atol=1e-5, rtol=0)
        down = model.get_submodule("model.layers.1.mlp.down_proj").weight
        torch.testing.assert_close(down, rounded(before["model.layers.1.mlp.down_proj.weight"], bits=8, group=16))
    after = {n.replace(".linear.", "."): p for n, p in model.named_parameters()}
    assert all(torch.equal(after[n], p) for n, p in before.items())


@pytest.mark.parametrize(
    ("kind", "transposed"), [("mixtral", False), ("gpt_oss", True), ("llama4_text", True), ("longcat_flash", False)]
)
def test_stacked_experts_are_rounded_along_their_inputs(kind: str, transposed: bool) -> None:
    model = small_model(kind)
    layout = layout_of(model, rank=2, alpha=4, targets=["o_proj"])
    experts = next(module for name, module in model.named_modules() if name.endswith(".experts"))
    before = experts.down_proj.detach().clone()
    with merged_and_quantised(StackedModel(model, layout), torch.zeros(layout.size), bits=4, group=16) as share:
        assert share > 0.97  # norms, biases and a router that is no linear layer are left
        matrix = [weight[2].T if transposed else weight[2] for weight in (experts.down_proj, before)]
        torch.testing.assert_close(matrix[0], rounded(matrix[1], bits=4, group=16))
    assert torch.equal(experts.down_proj, before)


@torch.no_grad()
def test_adapters_of_experts_are_merged_before_rounding() -> None:
    model = small_model("mixtral")
    layout = layout_of(model, rank=2, alpha=4, targets=["experts.down_proj"])
    adapter = torch.randn(layout.size, generator=torch.Generator().manual_seed(0)) * 0.1
    experts = model.model.layers[1].mlp.experts
    before = experts.down_proj.detach().clone()
    a, b = layout.segments[1].factors(adapter, rank=2)
    with merged_and_quantised(StackedModel(model, layout), adapter, bits=8, group=None):
        expected = rounded(before[3] + 2.0 * (b[3] @ a[3]), bits=8, group=None)
        torch.testing.assert_close(experts.down_proj[3], expected, atol=1e-5, rtol=0)


def test_the_share_of_weights_that_are_rounded_is_told() -> None:
    for kind, least, most in (("llama", 0.99, 1.0), ("mixtral", 0.98, 1.0), ("dbrx", 0.05, 0.5)):
        model = small_model(kind)
        layout = layout_of(model, rank=2, alpha=4, targets=[all_linear(model)[0]])
        with merged_and_quantised(StackedModel(model, layout), torch.zeros(layout.size), bits=4, group=16) as share:
            assert least < share < most  # DBRX keeps its experts in matrices of no linear layer


def test_experts_of_an_unknown_kind_are_refused() -> None:
    model = small_model("llama")
    model.model.layers[0].mlp.odd = torch.nn.Parameter(torch.randn(2, 3, 4))
    layout = layout_of(model, rank=2, alpha=4, targets=["q_proj"])
    stacked = StackedModel(model, layout)
    with pytest.raises(UserError, match=r"quantise: xlharm does not know the experts of this base \(.*mlp\.odd\)"):
        merged_and_quantised(stacked, torch.zeros(layout.size), bits=4, group=None).__enter__()


@torch.no_grad()
def test_a_transposed_weight_is_rounded_as_its_transpose() -> None:
    model = small_model("gpt2")
    layer = model.transformer.h[0].attn.c_attn
    before = layer.weight.detach().clone()
    layout = layout_of(model, rank=2, alpha=4, targets=["c_fc"])
    with merged_and_quantised(StackedModel(model, layout), torch.zeros(layout.size), bits=8, group=None):
        torch.testing.assert_close(layer.weight, rounded(before.T, bits=8, group=None).T)
    assert torch.equal(layer.weight, before)
