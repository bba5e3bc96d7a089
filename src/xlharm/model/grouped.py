"""Products of groups of rows, each with a matrix of its own, and LoRA by two of them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm


def low_rank(x: Tensor, a: Tensor, b: Tensor, *, scale: float, ends: Tensor | None) -> Tensor:
    """Return scale · x Aᵀ Bᵀ, each group of rows with its own A and B.

    Args:
        x: [groups, rows, in]; or [rows, in], with ``ends``.
        a: [groups, rank, in].
        b: [groups, out, rank].
        scale: factor on the result.
        ends: see ``products``.
    """
    result: Tensor = _LowRank.apply(x, a, b, scale, ends)  # type: ignore[no-untyped-call] # autograd has no types
    return result


def times_frozen(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Return ``products`` of rows and matrices that need no gradient."""
    result: Tensor = _Frozen.apply(x, weights, ends)  # type: ignore[no-untyped-call] # autograd has no types
    return result


def moved(x: Tensor, forth: Tensor, back: Tensor, real: Tensor | None = None) -> Tensor:
    """Select rows by index, [N, …] → [M, …]; the gradient is selected by index, too.

    Autograd would scatter and add the gradient, which is slower.

    Args:
        x: [N, …].
        forth: [M], index of each selected row.
        back: [N], index in the result of each input row.
        real: [N], False for input rows that are not selected, whose gradient is zero; None if all are.
    """
    result: Tensor = _Move.apply(x, forth, back, real)  # type: ignore[no-untyped-call] # autograd has no types
    return result


def products(x: Tensor, weights: Tensor, ends: Tensor | None) -> Tensor:
    """Return each group's rows times its matrix.

    Args:
        x: [groups, rows, m]; or [rows, m], with ``ends``.
        weights: [groups, m, n].
        ends: [groups] int32, index at which each group's rows end; a group may be empty.
    """
    if ends is None:
        return torch.bmm(x, weights)
    if _has_kernel(x, weights):
        return grouped_mm(x, weights, offs=ends)
    out, begin = x.new_empty(len(x), weights.shape[2]), 0
    for weight, end in zip(weights, ends.tolist(), strict=True):
        if end > begin:
            out[begin:end] = x[begin:end] @ weight
        begin = end
    return out


def products_over(x: Tensor, y: Tensor, ends: Tensor | None) -> Tensor:
    """Return xᵀ y [groups, m, n], summed over each group's rows; 0 for a group without rows.

    Args:
        x: [groups, rows, m]; or [rows, m], with ``ends``.
        y: likewise, of width n.
        ends: see ``products``.
    """
    if ends is None:
        return torch.bmm(x.transpose(1, 2), y)
    if _has_kernel(x, y):
        return grouped_mm(x.t(), y, offs=ends)
    out, begin = x.new_zeros(len(ends), x.shape[1], y.shape[1]), 0
    for group, end in enumerate(ends.tolist()):
        out[group] = x[begin:end].t() @ y[begin:end]
        begin = end
    return out


def _has_kernel(x: Tensor, y: Tensor) -> bool:
    """Whether torch has a grouped product for them: widths of a multiple of 16 bytes, and bfloat16 on a GPU."""
    if torch.compiler.is_compiling():  # only layers that have one are compiled; torch 2.11 cannot trace the rest
        return True
    widths = (x.shape[-1], *y.shape[1:])
    kinds = {torch.bfloat16} if x.is_cuda else {torch.float32, torch.bfloat16}
    return x.dtype in kinds and all(width * x.element_size() % 16 == 0 for width in widths)


class _LowRank(torch.autograd.Function):
    """``low_rank``, with gradients in the layout of the flat adapter.

    Autograd's own backward pass would make A's gradient transposed, and copy it once more to flatten it.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, scale: float, ends: Tensor | None
    ) -> Tensor:
        low = products(x, a.transpose(1, 2), ends) * scale
        ctx.save_for_backward(x, a, b, low, ends)
        ctx.scale = scale
        return products(low, b.transpose(1, 2), ends)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, low, ends = ctx.saved_tensors
        (grad,) = grads
        of_low = products(grad, b, ends) * ctx.scale
        of_x = products(of_low, a, ends) if ctx.needs_input_grad[0] else None
        return of_x, products_over(of_low, x, ends), products_over(grad, low, ends), None, None


class _Frozen(torch.autograd.Function):
    """``times_frozen``: only x has a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(weights, ends)
        return products(x, weights, ends)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, ends = ctx.saved_tensors
        return products(grads[0].contiguous(), weights.transpose(1, 2), ends), None, None


class _Move(torch.autograd.Function):
    """See ``moved``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: Tensor, back: Tensor, real: Tensor | None) -> Tensor:
        ctx.save_for_backward(back, real)
        return x.index_select(0, forth)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        back, real = ctx.saved_tensors
        of_x = grads[0].index_select(0, back)
        return of_x if real is None else of_x * real.view(-1, *[1] * (of_x.dim() - 1)), None, None, None
