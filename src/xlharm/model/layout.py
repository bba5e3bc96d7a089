"""The layout of adapters: which linear layers of a base model have one, and where it is in the flat vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from xlharm.errors import UserError
from xlharm.model.base import decoder, parts
from xlharm.plan.digest import mix
from xlharm.plan.memory import can_have_adapters, no_layer


@dataclass(frozen=True)
class Segment:
    """The place of one linear layer in the flat vector.

    Attributes:
        name: path of the linear layer in the base model.
        layer: index of its decoder layer; -1 if it belongs to none, as those of an encoder beside a decoder.
        fan_in: input width.
        fan_out: output width.
        offset: index at which its A begins; its B follows.
        transposed: whether the base's weight is [in, out], as in GPT-2's ``Conv1D``.
    """

    name: str
    layer: int
    fan_in: int
    fan_out: int
    offset: int
    transposed: bool = False


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
        return sum(self.rank * (s.fan_in + s.fan_out) for s in self.segments)

    @property
    def scale(self) -> float:
        """Factor on the adapter's output, alpha / rank."""
        return self.alpha / self.rank

    def pieces(self) -> list[int]:
        """Return the lengths of A and B of every segment, in order."""
        return [n for s in self.segments for n in (self.rank * s.fan_in, self.rank * s.fan_out)]

    def initial(self, *, seed: int) -> Tensor:
        """Return a new adapter [P]: A is uniform as in nn.Linear and B is zero, so the output does not change yet."""
        vector = torch.zeros(self.size)
        for s in self.segments:
            generator = torch.Generator().manual_seed(mix(seed, "lora", s.name) % 2**63)
            bound = s.fan_in**-0.5
            a = torch.rand(self.rank * s.fan_in, generator=generator) * (2 * bound) - bound
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
                mask[s.offset : s.offset + self.rank * (s.fan_in + s.fan_out)] = 1.0
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
    segments, offset, leaves = [], 0, set()
    linears = adaptable(model)
    decodes = set(decoder(model).modules())
    for name, linear in linears.items():
        leaf = name.rsplit(".", 1)[-1]
        if leaf not in targets:
            continue
        fan_in, fan_out = sizes_of(linear)
        leaves.add(leaf)
        numbers = [int(part) for part in name.split(".") if part.isdigit()] if linear in decodes else []
        transposed = isinstance(linear, Conv1D)
        segment = Segment(name, numbers[0] if numbers else -1, fan_in, fan_out, offset, transposed)
        segments.append(segment)
        offset += rank * (fan_in + fan_out)
    for target in targets:
        if target not in leaves:
            raise no_layer(target, {n.rsplit(".", 1)[-1] for n in linears})
    return Layout(rank=rank, alpha=alpha, targets=tuple(targets), segments=tuple(segments))
