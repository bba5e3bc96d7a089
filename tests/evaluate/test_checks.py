"""Checks of a base: what computes right passes, and every kind of fault is refused in one line."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from xlharm.errors import UserError
from xlharm.evaluate import cache
from xlharm.evaluate.checks import Distance, check_base, length_to_check
from xlharm.model import attention
from xlharm.model.base import decoder
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedLinear, StackedModel
from xlharm.plan.families import Path

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def base(kind: str = "llama", *, dtype: torch.dtype = torch.float32, **fields: Any) -> Any:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **fields}))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(4)
    return model.eval().requires_grad_(requires_grad=False).to(dtype)


def stacked(model: Any, *, path: Path = "fast", targets: tuple[str, ...] = ("q_proj", "down_proj")) -> StackedModel:
    return StackedModel(model, layout_of(model, rank=4, alpha=8, targets=targets), path=path)


@BOTH
@pytest.mark.parametrize("path", ["fast", "generic"])
@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma3_text"])
@pytest.mark.slow
def test_a_known_base_passes_on_both_paths(kind: str, path: Path, dtype: torch.dtype) -> None:
    window = {"sliding_window": 8} if kind != "llama" else {}
    checked = check_base(stacked(base(kind, dtype=dtype, **window), path=path), longest=40)
    assert ("(own bfloat16: " if dtype == torch.bfloat16 else "standard deviations") in checked


class Leaky(nn.Module):
    """A layer that mixes a very little of the token before into each token."""

    def forward(self, x: Tensor, **_others: Any) -> Tensor:
        return x + 0.01 * x.roll(1, dims=1)


@BOTH
def test_a_leak_below_the_noise_of_bfloat16_is_refused(dtype: torch.dtype) -> None:
    model = base(dtype=dtype)
    decoder(model).layers.insert(1, Leaky())
    with pytest.raises(UserError, match=r"LlamaForCausalLM mixes tokens outside of its attention.*path: generic"):
        check_base(stacked(model), longest=20)


@BOTH
@pytest.mark.parametrize("path", ["fast", "generic"])
def test_a_base_that_looks_ahead_is_refused(path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = base(dtype=dtype)
    norm = decoder(model).norm
    plain = norm.forward
    monkeypatch.setattr(
        norm, "forward", lambda x: plain(x + 0.01 * x.flip(1).detach()) if x.shape[1] == 8 else plain(x)
    )
    with pytest.raises(UserError, match="LlamaForCausalLM is not causal, or mixes rows of a batch"):
        check_base(stacked(model, path=path), longest=20)


@BOTH
def test_decoding_that_attends_too_far_is_refused(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(self: cache.RowCache) -> None:
        self.allowed = torch.ones(len(self.positions), self.length, dtype=torch.bool)

    monkeypatch.setattr(cache.RowCache, "look_back", everything)
    with pytest.raises(UserError, match="decoding steps"):
        check_base(stacked(base(dtype=dtype)), longest=20)
    check_base(stacked(base(dtype=dtype)), longest=20, answers=False)


@BOTH
def test_a_window_that_we_do_not_keep_to_is_refused(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    real = attention.attend_within
    for module in (attention, cache):
        monkeypatch.setattr(module, "attend_within", lambda *x, window, **more: real(*x, window=None, **more))
    with pytest.raises(UserError, match="decoding steps"):
        check_base(stacked(base("mistral", sliding_window=16, dtype=dtype)), longest=40)


@BOTH
def test_a_base_without_gradients_is_refused(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = base(dtype=dtype)
    norm = decoder(model).norm
    plain = norm.forward
    for broken in (lambda x: 0 * x + plain(x).detach(), lambda x: plain(x) + 0 * (x * 0).abs().sqrt()):
        monkeypatch.setattr(norm, "forward", broken)
        with pytest.raises(UserError, match="LlamaForCausalLM gives gradients that are zero or not numbers"):
            check_base(stacked(model), longest=20)


def test_a_base_whose_code_does_not_run_this_way_is_one_line() -> None:
    model = base()
    decoder(model).layers[0].forward = lambda *_, **__: None
    with pytest.raises(UserError, match=r"^base: LlamaForCausalLM does not run on the path `generic`: [^\n]*$"):
        check_base(stacked(model, path="generic"), longest=20)


def test_an_expert_of_a_list_cannot_have_adapters() -> None:
    class Half(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.inner(x[:, ::2]), x[:, 1::2]], 1)[:, : x.shape[1]]

    model = base()
    decoder(model).layers[0].mlp = Half(decoder(model).layers[0].mlp)
    with pytest.raises(UserError, match=r"lora.target_modules: 'down_proj': the layer .* gets .* tokens"):
        check_base(stacked(model), longest=20)


def test_a_target_that_is_never_called_is_refused() -> None:
    model = base()
    decoder(model).layers[0].spare = nn.Linear(4, 4)
    with pytest.raises(UserError, match="'spare': LlamaForCausalLM never calls a layer of this name"):
        check_base(stacked(model, targets=("q_proj", "spare")), longest=20)


def test_an_adapter_on_other_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = StackedLinear.forward

    def swapped(self: StackedLinear, x: Tensor) -> Tensor:
        kept = self.a, self.b
        if self.a is not None and self.b is not None and len(self.a) == 2:
            self.a, self.b = self.a.flip(0), self.b.flip(0)
        output = real(self, x)
        self.a, self.b = kept
        return output

    monkeypatch.setattr(StackedLinear, "forward", swapped)
    with pytest.raises(UserError, match="rows computed together"):
        check_base(stacked(base(), targets=("down_proj",)), longest=20)


def test_distances_are_those_of_their_formulas() -> None:
    exact, other = torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[1.0, 0.0], [5.0, 2.0]])
    distance = Distance.of(exact, other)
    assert (distance.mean, distance.median) == (pytest.approx(0.25), pytest.approx(0.0))
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]).softmax(0)
    assert distance.nats == pytest.approx(float((p * (p / q).log()).sum()) / 2, abs=1e-6)
    assert distance.agreement == 1.0


@pytest.mark.parametrize(
    ("fields", "longest", "length"),
    [({}, 2000, 48), ({}, 20, 20), ({"sliding_window": 512}, 2000, 520), ({"sliding_window": 512}, 300, 48)],
)
def test_rows_of_a_check_go_beyond_every_window(fields: dict[str, int], longest: int, length: int) -> None:
    assert length_to_check(base("mistral", **{"sliding_window": None, **fields}), longest) == length
