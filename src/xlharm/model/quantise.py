"""Weight-only quantisation of merged weights: round to nearest, symmetric, one scale for each group of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from xlharm.errors import UserError
from xlharm.model.arithmetic import products
from xlharm.model.base import decoder, is_partitioned
from xlharm.model.lora import StackedLinear, StackedModel


def rounded(weight: Tensor, *, bits: int, group: int | None) -> Tensor:
    """Return a weight [out, in] after quantising and dequantising it.

    The integers are symmetric around 0 (−7 to 7 with 4 bits, −127 to 127 with 8). A group's scale is its largest
    absolute value divided by the largest integer. Quantisation is simulated in the weight's own precision, so that CPU
    and GPU give the same model, whatever kernels they have.

    Args:
        weight: [out, in].
        bits: width of the integers.
        group: number of consecutive weights of a row that share a scale; None is the whole row. The last group of a
            row may be shorter.
    """
    most = 2 ** (bits - 1) - 1
    size = group or weight.shape[1]
    parts = []
    for part in torch.split(weight.float(), size, dim=1):
        scale = part.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / most
        parts.append((part / scale).round().clamp(-most, most) * scale)
    return torch.cat(parts, dim=1).to(weight.dtype)


@contextmanager
def merged_and_quantised(stacked: StackedModel, adapter: Tensor, *, bits: int, group: int | None) -> Iterator[None]:
    """Merge one adapter into the base model and quantise all linear layers of the decoder, within a ``with`` block.

    Afterwards the base model has its own weights again.

    Args:
        stacked: the base model.
        adapter: [P].
        bits: width of the integers.
        group: number of consecutive weights of a row that share a scale; None is the whole row.

    Raises:
        UserError: the base model is partitioned over several devices.
    """
    if is_partitioned(stacked.model):
        raise UserError("probes: quantise needs the whole base on one device: no --zero 3, no --offload params")
    layers = stacked.model.get_submodule
    merged = {
        segment.name: stacked.layout.scale * product
        for segment, product in zip(stacked.layout.segments, products(adapter, stacked.layout), strict=True)
    }
    names = {f"{n}.linear" for n, m in stacked.model.named_modules() if isinstance(m, StackedLinear)}
    inside = set(decoder(stacked.model).modules())
    linears = {n: m for n, m in stacked.model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m in inside}
    originals = {}
    try:
        for name, linear in linears.items():
            originals[name] = linear.weight.data
            weight = linear.weight.data
            if name in names:
                delta = merged[name.removesuffix(".linear")].to(weight.device)
                weight = (weight.double() + (delta.T if isinstance(linear, Conv1D) else delta)).to(weight.dtype)
            if isinstance(linear, Conv1D):
                weight = rounded(weight.T, bits=bits, group=group).T.contiguous()
            else:
                weight = rounded(weight, bits=bits, group=group)
            linear.weight.data = weight
        yield
    finally:
        for name, weight in originals.items():
            layers(name).weight.data = weight
