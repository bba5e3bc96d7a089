"""The layout of adapters: which layers of a base model have one, and where it is in the flat vector.

A layer is linear, or a parameter in which the experts of a layer are stacked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from xlharm.errors import UserError
from xlharm.model.base import decoder, parts
from xlharm.model.experts import sizes_of_stack, stacked_parameters
from xlharm.plan.digest import mix
from xlharm.plan.memory import can_have_adapters, no_layer


@dataclass(frozen=True)
class Segment:
    """The place of one layer in the flat vector.

    Attributes:
        name: path in the base model, of the linear layer or of the stacked parameter.
        layer: index of its decoder layer; -1 if it belongs to none, as those of an encoder beside a decoder.
        fan_in: input width.
        fan_out: output width.
        offset: index at which its A begins; its B follows. Of stacked experts, the A of all experts come first.
        transposed: whether the base's weight is [in, out], as in GPT-2's ``Conv1D``.
        experts: number of experts of a stacked parameter; 0 for a linear layer.
    """

    name: str
    layer: int
    fan_in: int
    fan_out: int
    offset: int
    transposed: bool = False
    experts: int = 0

    @property
    def matrices(self) -> int:
        """Number of matrices with an adapter: one for each expert, one of a linear layer."""
        return max(1, self.experts)

    @property
    def target(self) -> str:
        """Name by which ``lora.target_modules`` names it, such as ``q_proj`` or ``experts.down_proj``."""
        return ".".join(self.name.split(".")[-2 if self.experts else -1 :])

    def size(self, rank: int) -> int:
        """Return the number of parameters of its adapter."""
        return self.matrices * rank * (self.fan_in + self.fan_out)

    def factors(self, vector: Tensor, *, rank: int) -> tuple[Tensor, Tensor]:
        """Return A [matrices, rank, in] and B [matrices, out, rank] of an adapter [P], as views of it."""
        middle = self.offset + self.matrices * rank * self.fan_in
        a, b = vector[self.offset : middle], vector[middle : self.offset + self.size(rank)]
        return a.view(-1, rank, self.fan_in), b.view(-1, self.fan_out, rank)


@dataclass(frozen=True)
class Layout:
    """How a flat vector is cut into the A and B of every target layer.

    Attributes:
        rank: rank of the adapter.
        alpha: numerator of the scale alpha / rank.
        targets: names of the target modules, such as ``q_proj``.
        segments: the target layers, in the model's order.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Number of parameters of one adapter."""
        return sum(self.pieces())

    @property
    def scale(self) -> float:
        """Factor on the adapter's output, alpha / rank."""
        return self.alpha / self.rank

    def pieces(self) -> list[int]:
        """Return the lengths of A and B of every segment, in order."""
        return [s.matrices * self.rank * n for s in self.segments for n in (s.fan_in, s.fan_out)]

    def initial(self, *, seed: int) -> Tensor:
        """Return a new adapter [P]: A is uniform as in nn.Linear and B is zero, so the output does not change yet."""
        vector = torch.zeros(self.size)
        for s in self.segments:
            generator = torch.Generator().manual_seed(mix(seed, "lora", s.name) % 2**63)
            bound = s.fan_in**-0.5
            count = s.matrices * self.rank * s.fan_in
            a = torch.rand(count, generator=generator) * (2 * bound) - bound
            vector[s.offset : s.offset + a.numel()] = a
        return vector

    def mask(self, layers: Sequence[int] | None) -> Tensor | None:
        """Return a mask [P]: 1 at the parameters of the given decoder layers, 0 elsewhere. None stands for all layers.

        Raises:
            UserError: the base model has no adapted layer of that index.
        """
        if layers is None:
            return None
        known = {s.layer for s in self.segments}
        for layer in layers:
            if layer not in known:
                raise UserError(f"layers: the base has no adapted layer {layer} (it has 0 to {max(known)})")
        mask = torch.zeros(self.size)
        for s in self.segments:
            if s.layer in layers:
                mask[s.offset : s.offset + s.size(self.rank)] = 1.0
        return mask


class Wrapped(nn.Module):
    """A module in the place of a linear layer, which it keeps as ``linear``."""

    linear: nn.Module


def adaptable(model: Any) -> dict[str, nn.Module]:
    """Return the linear layers that can have adapters, by name, in the model's order.

    They are inside the decoder or the encoder; see also ``can_have_adapters``.
    """
    inside = {module for part in parts(model) for module in part.modules()} - {model.get_output_embeddings()}
    stacked = {name for name, module in model.named_modules() if isinstance(module, Wrapped)}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        linear = module.linear if name in stacked else module
        if name.removesuffix(".linear") in stacked - {name} or not isinstance(linear, nn.Linear | Conv1D):
            continue
        if linear in inside and can_have_adapters(name):
            found[name] = linear
    return found


def sizes_of(linear: nn.Module) -> tuple[int, int]:
    """Return the input and the output width of a linear layer."""
    if isinstance(linear, Conv1D):
        return int(linear.nx), int(linear.nf)
    assert isinstance(linear, nn.Linear)
    return linear.in_features, linear.out_features


def adaptable_experts(model: Any) -> dict[str, nn.Module]:
    """Return the stacked parameters that can have adapters, by name, each with its module, in the model's order."""
    inside = set(decoder(model).modules())
    return {name: module for name, module in stacked_parameters(model).items() if module in inside}


def layout_of(model: Any, *, rank: int, alpha: float, targets: Sequence[str]) -> Layout:
    """Return the layout of adapters on the target layers of a base model.

    Args:
        model: the base model.
        rank: rank of the adapters.
        alpha: numerator of their scale, alpha / rank.
        targets: names of the target modules.

    Raises:
        UserError: the base model has no module of a target's name that can have adapters.
    """
    every = all_segments(model)
    segments, offset = [], 0
    for segment in every:
        if segment.target in targets:
            segments.append(replace(segment, offset=offset))
            offset += segment.size(rank)
    for target in targets:
        if target not in {s.target for s in segments}:
            raise no_layer(target, {s.target for s in every})
    return Layout(rank=rank, alpha=alpha, targets=tuple(targets), segments=tuple(segments))


def all_segments(model: Any) -> list[Segment]:
    """Return all layers that can have adapters, linear ones first, each in the model's order; ``offset`` is 0."""
    segments, decodes = [], set(decoder(model).modules())
    for name, linear in adaptable(model).items():
        fan_in, fan_out = sizes_of(linear)
        layer = _depth(name) if linear in decodes else -1
        segments.append(Segment(name, layer, fan_in, fan_out, 0, isinstance(linear, Conv1D)))
    for name, module in adaptable_experts(model).items():
        experts, fan_in, fan_out = sizes_of_stack(module, name.rpartition(".")[2])
        segments.append(Segment(name, _depth(name), fan_in, fan_out, 0, bool(module.is_transposed), experts))
    return segments


def _depth(name: str) -> int:
    return next((int(part) for part in name.split(".") if part.isdigit()), -1)
