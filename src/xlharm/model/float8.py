"""Frozen linear layers in float8: weights in e4m3 with a scale for each output, activations with one for each token.

Both directions use the same rounded weights, so a gradient is that of the rounded model. Scales are computed from the
values at hand, token by token: a token's result does not depend on the tokens beside it. The format is that of
2209.05433.
"""

import gc
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.errors import UserError
from xlharm.model.layout import adaptable

_MOST = 448.0  # largest number of e4m3
_LEAST = 1e-12
_MULTIPLE = 16  # widths must be a multiple of it, because the GPU's kernels read 16 bytes at a time
_CAPABILITY = (8, 9)  # the first GPUs with products in float8: Ada


class Float8Linear(nn.Linear):
    """A frozen linear layer whose products are computed in float8; see the module's text.

    On a CPU they are simulated: the same rounding, products in float32.

    Args:
        linear: the layer; its weight is dropped.
        device: where the new layer is.
        twice: whether the weights are kept in the order of the backward product, too. Otherwise each backward pass
            transposes them.
    """

    values: Tensor
    scales: Tensor
    turned: Tensor | None

    def __init__(self, linear: nn.Linear, *, device: torch.device, twice: bool) -> None:
        super(nn.Linear, self).__init__()  # not nn.Linear's own, which makes a weight
        self.in_features, self.out_features = linear.in_features, linear.out_features
        values, scales = rounded_rows(linear.weight.detach().to(device))
        self.register_buffer("values", values)  # [out, in], e4m3
        self.register_buffer("scales", scales)  # [out, 1], float32
        self.register_buffer("turned", values.t().contiguous() if twice else None)  # [in, out], e4m3
        bias = linear.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(device), requires_grad=False)
        self._dtype = linear.weight.dtype

    @property
    def weight(self) -> Tensor:  # type: ignore[override] # computed, where nn.Linear has a parameter
        """The rounded weight [out, in] in the base's precision."""
        return (self.values.float() * self.scales).to(self._dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., in] to [..., out]."""
        if self.values.dtype == torch.float32:  # ``evaluate.precision`` widens all tensors of a layer
            return nn.functional.linear(x, self.values * self.scales, self.bias)
        y: Tensor = _Product.apply(x.flatten(0, -2), self.values, self.scales, self.turned)  # type: ignore[no-untyped-call] # autograd
        y = y.view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


def rounded_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return values [rows, n] in e4m3 and scales [rows, 1] in float32, whose product is x [rows, n], rounded."""
    wide = x.float()
    scales = (wide.abs().amax(dim=1, keepdim=True) / _MOST).clamp(min=_LEAST)
    return (wide / scales).clamp(-_MOST, _MOST).to(torch.float8_e4m3fn), scales


def to_float8(model: Any, *, device: torch.device) -> None:
    """Put ``Float8Linear`` in the place of all linear layers that may have adapters, and move these to the device.

    Stacked experts, routers, embeddings and the output layer keep their precision.

    Raises:
        UserError: the device has no products in float8, or no layer's widths fit.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < _CAPABILITY:
        raise UserError(
            f"dtype: float8 needs a GPU of compute capability 8.9 or newer, not {torch.cuda.get_device_name(device)}"
        )
    fitting = {
        name: linear
        for name, linear in adaptable(model).items()
        if isinstance(linear, nn.Linear) and not linear.in_features % _MULTIPLE and not linear.out_features % _MULTIPLE
    }
    if not fitting:
        raise UserError(f"dtype: {type(model).__name__} has no linear layers that float8 can be used for: use bfloat16")
    twice = _room_for_two(sum(linear.weight.numel() for linear in fitting.values()), device=device)
    while fitting:
        name, linear = fitting.popitem()
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, Float8Linear(linear, device=device, twice=twice))
    gc.collect()


def _room_for_two(weights: int, *, device: torch.device) -> bool:
    """Whether the weights may be kept twice: if both take less than half of the device's memory."""
    if device.type != "cuda":
        return False
    return 4 * weights < torch.cuda.get_device_properties(device).total_memory


def _scaled(x: Tensor, values: Tensor, scales: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Return x [rows, m], rounded, times values [m, n] (e4m3, column-major) times scales [1, n], in ``dtype``."""
    rows, row_scales = rounded_rows(x)
    if x.is_cuda:
        return torch._scaled_mm(  # noqa: SLF001 - the name that torch 2.11 can compile
            rows, values, scale_a=row_scales, scale_b=scales, out_dtype=dtype, use_fast_accum=True
        )
    return (rows.float() @ values.float() * row_scales * scales).to(dtype)


class _Product(torch.autograd.Function):
    """x times the rounded weight; only x has a gradient, rounded in the same way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, scales: Tensor, turned: Tensor | None) -> Tensor:
        ctx.save_for_backward(values, scales, turned)
        return _scaled(x, values.t(), scales.t(), dtype=x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, scales, turned = ctx.saved_tensors
        back = values.t().contiguous().t() if turned is None else turned.t()
        ones = torch.ones(1, values.shape[1], dtype=torch.float32, device=values.device)
        (grad,) = grads
        return _scaled(grad.float() * scales.t(), back, ones, dtype=grad.dtype), None, None, None
