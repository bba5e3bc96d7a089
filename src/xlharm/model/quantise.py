"""Weight-only quantisation of merged weights: round to nearest, symmetric, one scale for each group of weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from xlharm.errors import UserError
from xlharm.model.arithmetic import product
from xlharm.model.base import is_partitioned, parts
from xlharm.model.lora import StackedLinear, StackedModel

# Experts' modules that do not say whether inputs come before outputs in their stacked parameters.
_INPUTS_FIRST = {"Llama4TextExperts": True, "JetMoeParallelExperts": False, "LongcatFlashExperts": False}


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
def merged_and_quantised(stacked: StackedModel, adapter: Tensor, *, bits: int, group: int | None) -> Iterator[float]:
    """Merge one adapter into the base model and quantise all linear layers and experts, within a ``with`` block.

    Afterwards the base model has its own weights again. The block gets the share of the decoder's weights that are
    rounded, embeddings and output layer left out: experts that are no matrices of linear layers and no stacked
    parameters are not reached (DBRX).

    Args:
        stacked: the base model.
        adapter: [P].
        bits: width of the integers.
        group: number of consecutive weights of a row that share a scale; None is the whole row.

    Raises:
        UserError: the base model is partitioned over several devices, or has experts of an unknown kind.
    """
    if is_partitioned(stacked.model):
        raise UserError("probes: quantise needs the whole base on one device: no --zero 3, no --offload params")
    segments = {segment.name: segment for segment in stacked.layout.segments}
    originals: list[tuple[Any, Tensor]] = []
    try:
        for name, parameter, transposed in _matrices(stacked.model):
            weight = parameter.data
            originals.append((parameter, weight))
            outputs_first = weight.transpose(-1, -2) if transposed else weight
            if name in segments:
                added = stacked.layout.scale * product(adapter, segments[name], stacked.layout)
                outputs_first = (outputs_first.double() + added.to(weight.device)).to(weight.dtype)
            flat = rounded(outputs_first.flatten(0, -2), bits=bits, group=group).view_as(outputs_first)
            parameter.data = flat.transpose(-1, -2).contiguous() if transposed else flat
        yield sum(weight.numel() for _, weight in originals) / _weights(stacked.model)
    finally:
        for parameter, weight in originals:
            parameter.data = weight


def _weights(model: Any) -> int:
    """Return the number of parameters of a decoder without those of its embeddings and its output layer."""
    outside = (model.get_input_embeddings(), model.get_output_embeddings())
    left_out = {id(p) for module in outside if module is not None for p in module.parameters()}
    inside = {p for part in parts(model) for p in part.parameters() if id(p) not in left_out}
    return sum(p.numel() for p in inside)


def _matrices(model: nn.Module) -> Iterator[tuple[str, Any, bool]]:
    """Yield the weights of all linear layers of the decoder and of all stacked experts.

    With each come the layer's name, and whether inputs come before outputs.

    Raises:
        UserError: it has stacked weights of a kind that is not known.
    """
    adapted = {name for name, module in model.named_modules() if isinstance(module, StackedLinear)}
    inside = {module for part in parts(model) for module in part.modules()}
    for name, module in model.named_modules():
        if module not in inside:
            continue
        if isinstance(module, nn.Linear | Conv1D):
            parent = name.removesuffix(".linear")
            yield parent if parent in adapted else name, module.weight, isinstance(module, Conv1D)
        elif not isinstance(module, nn.Conv1d):
            for leaf, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 3 and min(parameter.shape) > 1:
                    inputs_first = getattr(module, "is_transposed", _INPUTS_FIRST.get(type(module).__name__))
                    if inputs_first is None:
                        where = f"{name}.{leaf}"
                        raise UserError(f"probes: quantise: xlharm does not know the experts of this base ({where})")
                    yield f"{name}.{leaf}", parameter, bool(inputs_first)
