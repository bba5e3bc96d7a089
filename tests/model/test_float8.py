"""Linear layers in float8: what is rounded, in which direction, and what is not."""

import pytest
import torch
from torch import Tensor, nn

from tests.families.small import small_model
from xlharm.corpus.finding import assets
from xlharm.errors import UserError
from xlharm.evaluate.checks import check_base
from xlharm.evaluate.precision import in_float32
from xlharm.model.base import load_base
from xlharm.model.float8 import Float8Linear, rounded_rows, to_float8
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedLinear, StackedModel
from xlharm.plan.base_files import folder_base

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CPU = torch.device("cpu")


def layer(*, bias: bool = False, twice: bool = False, device: torch.device = CPU) -> tuple[nn.Linear, Float8Linear]:
    torch.manual_seed(0)
    plain = nn.Linear(64, 96, bias=bias).to(torch.bfloat16)
    return plain.to(device), Float8Linear(plain, device=device, twice=twice)


def test_values_that_e4m3_has_are_kept() -> None:
    x = torch.tensor([[448.0, 1.75, -0.5, 0.0], [2.0, 0.25, 1.0, -0.0625]]) * torch.tensor([[1.0], [224.0]])
    values, scales = rounded_rows(x)
    assert values.dtype == torch.float8_e4m3fn
    assert scales.flatten().tolist() == [1.0, 1.0]
    assert torch.equal(values.float() * scales, x)


def test_a_row_of_zeros_stays_zero() -> None:
    values, scales = rounded_rows(torch.zeros(2, 8))
    assert torch.equal(values.float() * scales, torch.zeros(2, 8))


def test_a_product_is_that_of_the_rounded_factors() -> None:
    _, rounded = layer(bias=True)
    x = torch.randn(7, 64, dtype=torch.bfloat16)
    values, scales = rounded_rows(x)
    weight = rounded.values.float() * rounded.scales
    expected = (values.double() * scales.double()) @ weight.double().t()
    assert torch.allclose(rounded(x).double(), expected.bfloat16().double() + rounded.bias.double(), atol=2e-2)


def test_a_gradient_is_that_of_the_rounded_weights() -> None:
    _, rounded = layer()
    x = torch.randn(7, 64, dtype=torch.bfloat16, requires_grad=True)
    grad = torch.randn(7, 96, dtype=torch.bfloat16)
    (ours,) = torch.autograd.grad(rounded(x), x, grad)
    values, scales = rounded_rows(grad.float() * rounded.scales.t())  # the scales go into the gradient before rounding
    expected = (values.double() * scales.double()) @ rounded.values.double()
    assert torch.allclose(ours.double(), expected, atol=1e-2 * expected.abs().max().item())


def test_how_weights_are_kept_changes_no_bit() -> None:
    results = []
    for twice in (False, True):
        _, rounded = layer(twice=twice)
        x = torch.linspace(-1, 1, 7 * 64).view(7, 64).bfloat16().requires_grad_()
        y = rounded(x)
        results.append((y.detach(), torch.autograd.grad(y, x, torch.ones_like(y))[0]))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_token_does_not_depend_on_the_tokens_beside_it() -> None:
    _, rounded = layer()
    x = torch.randn(7, 64, dtype=torch.bfloat16)
    other = torch.cat([x[:3], 1000 * torch.randn(4, 64, dtype=torch.bfloat16)])
    assert torch.equal(rounded(x)[:3], rounded(other)[:3])


def test_a_model_in_float32_for_a_while_has_the_rounded_weights_exactly() -> None:
    model = small_model("llama").to(torch.bfloat16)
    to_float8(model, device=CPU)
    inside = model.model.layers[0].mlp.up_proj
    x = torch.randn(3, inside.in_features)
    heard: list[Tensor] = []
    with in_float32(model):
        model.model.layers[0].mlp.up_proj.register_forward_hook(lambda _, inputs, y: heard.extend([inputs[0], y]))
        model(input_ids=torch.tensor([[5, 6, 7]]))
    weight = inside.values.float() * inside.scales
    assert torch.equal(heard[1], heard[0] @ weight.t())
    assert inside(x.bfloat16()).dtype == torch.bfloat16


def test_embeddings_output_layer_and_norms_keep_their_precision() -> None:
    model = small_model("llama").to(torch.bfloat16)
    to_float8(model, device=CPU)
    changed = {name for name, module in model.named_modules() if isinstance(module, Float8Linear)}
    assert len(changed) == 7 * len(model.model.layers)
    assert not isinstance(model.lm_head, Float8Linear)


def test_a_model_without_fitting_layers_is_refused() -> None:
    with pytest.raises(UserError, match="use bfloat16"):
        to_float8(small_model("gpt2").to(torch.bfloat16), device=CPU)  # its weights are transposed: Conv1D


@pytest.mark.slow
def test_a_base_in_float8_passes_the_checks_with_every_layer_rounded() -> None:
    base = folder_base(assets() / "tiny-base")
    model = load_base(base, dtype="float8", device=CPU)
    layout = layout_of(model, rank=4, alpha=8.0, targets=LINEARS)
    stacked = StackedModel(model, layout)
    assert stacked.dtype == torch.bfloat16
    assert {type(layer.linear) for layer in model.modules() if isinstance(layer, StackedLinear)} == {Float8Linear}
    assert check_base(stacked, longest=40).startswith("rows computed together")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("twice", [False, True])
def test_a_gpu_computes_what_the_simulation_does(twice: bool) -> None:
    gpu = torch.device("cuda")
    _, here = layer(bias=True)
    _, there = layer(bias=True, twice=twice, device=gpu)
    assert torch.equal(here.values.float(), there.values.float().cpu())
    x = torch.randn(70, 64).bfloat16().requires_grad_()
    on_gpu = x.detach().to(gpu).requires_grad_()
    grad = torch.randn(70, 96).bfloat16()
    y, theirs = here(x), there(on_gpu)
    assert torch.allclose(y.float(), theirs.float().cpu(), atol=2e-2, rtol=2e-2)
    (ours,), (on_the_gpu,) = torch.autograd.grad(y, x, grad), torch.autograd.grad(theirs, on_gpu, grad.to(gpu))
    assert torch.allclose(ours.float(), on_the_gpu.float().cpu(), atol=2e-2, rtol=2e-2)
