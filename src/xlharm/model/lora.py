"""Stacked LoRA: K adapters on one frozen base, one forward and backward for all of them.

An adapter (2106.09685) is one flat float32 vector: for every target linear layer, in the model's order, first
A [rank, in], then B [out, rank]. K vectors are stacked to [K, P] and cut into views [K, rank, in] and
[K, out, rank], so that a batch of K groups of rows goes through two batched matrix products a layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from xlharm.errors import UserError, nearest
from xlharm.plan.digest import mix


@dataclass(frozen=True)
class Segment:
    """One linear layer's place in the flat vector.

    Attributes:
        name: the layer's path in the base model.
        layer: index of its decoder layer; -1 outside of them.
        fan_in: input width.
        fan_out: output width.
        offset: where its A begins; B follows.
    """

    name: str
    layer: int
    fan_in: int
    fan_out: int
    offset: int


@dataclass(frozen=True)
class Layout:
    """How a flat vector is cut into the A and B of every target layer."""

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
        """Return a fresh adapter [P]: A uniform as in nn.Linear, B zero, so that it changes nothing yet."""
        vector = torch.zeros(self.size)
        for s in self.segments:
            generator = torch.Generator().manual_seed(mix(seed, "lora", s.name) % 2**63)
            bound = s.fan_in**-0.5
            a = torch.rand(self.rank * s.fan_in, generator=generator) * (2 * bound) - bound
            vector[s.offset : s.offset + a.numel()] = a
        return vector

    def mask(self, layers: Sequence[int] | None) -> Tensor | None:
        """Return [P] with 1 where the given decoder layers' parameters lie; None means all of them.

        Raises:
            UserError: a layer that the base does not have.
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


class StackedLinear(nn.Module):
    """A frozen linear layer plus the adapters that the current pack put into it."""

    def __init__(self, linear: nn.Linear, *, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.scale = scale
        self.a: Tensor | None = None  # [K, rank, in]
        self.b: Tensor | None = None  # [K, out, rank]

    def forward(self, x: Tensor) -> Tensor:
        """Map x [K·rows, length, in], rows of one adapter lying together, to [K·rows, length, out]."""
        y: Tensor = self.linear(x)
        if self.a is None or self.b is None:
            return y
        k = self.a.shape[0]
        grouped = x.reshape(k, -1, x.shape[-1])
        delta = torch.bmm(torch.bmm(grouped, self.a.transpose(1, 2)), self.b.transpose(1, 2))
        return y + (delta * self.scale).view_as(y)


def layout_of(model: nn.Module, *, rank: int, alpha: float, targets: Sequence[str]) -> Layout:
    """Find the target layers of a base.

    Raises:
        UserError: a target module that the base does not have.
    """
    segments, offset, found = [], 0, set()
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | StackedLinear)}
    for name, module in linears.items():
        leaf = name.rsplit(".", 1)[-1]
        if leaf not in targets:
            continue
        linear = module.linear if isinstance(module, StackedLinear) else module
        found.add(leaf)
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        segment = Segment(name, numbers[0] if numbers else -1, linear.in_features, linear.out_features, offset)
        segments.append(segment)
        offset += rank * (linear.in_features + linear.out_features)
    for target in targets:
        if target not in found:
            have = sorted({n.rsplit(".", 1)[-1] for n in linears} - {"linear", "lm_head"})
            raise UserError(f"lora.target_modules: the base has no layer {target!r}{nearest(target, have)} ({have})")
    return Layout(rank=rank, alpha=alpha, targets=tuple(targets), segments=tuple(segments))


def install(model: nn.Module, layout: Layout) -> dict[str, StackedLinear]:
    """Put a ``StackedLinear`` in the place of every target layer (once; later calls only set the scale)."""
    installed = {}
    for segment in layout.segments:
        parent = model.get_submodule(segment.name.rsplit(".", 1)[0])
        leaf = segment.name.rsplit(".", 1)[1]
        module = getattr(parent, leaf)
        if isinstance(module, StackedLinear):
            module.scale = layout.scale
        else:
            module = StackedLinear(cast("nn.Linear", module), scale=layout.scale)
            setattr(parent, leaf, module)
        installed[segment.name] = module
    return installed


def uninstall(model: nn.Module) -> None:
    """Put the plain linear layers back."""
    wrapped = [(n, m) for n, m in model.named_modules() if isinstance(m, StackedLinear)]
    for name, module in wrapped:
        setattr(model.get_submodule(name.rsplit(".", 1)[0]), name.rsplit(".", 1)[1], module.linear)


class StackedModel:
    """A base with the layers of one layout installed; adapters are put in for the length of a ``with``."""

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        uninstall(model)
        self.model = model
        self.layout = layout
        self._layers = install(model, layout)

    @contextmanager
    def adapters(self, stacked: Tensor) -> Iterator[None]:
        """Use adapters [K, P]; gradients flow into them when they require any."""
        dtype = next(iter(self._layers.values())).linear.weight.dtype
        parts = torch.split(stacked.to(dtype), self.layout.pieces(), dim=1)
        k, rank = stacked.shape[0], self.layout.rank
        try:
            for i, segment in enumerate(self.layout.segments):
                layer = self._layers[segment.name]
                layer.a = parts[2 * i].view(k, rank, segment.fan_in)
                layer.b = parts[2 * i + 1].view(k, segment.fan_out, rank)
            yield
        finally:
            for layer in self._layers.values():
                layer.a = layer.b = None


class AdapterPool(nn.Module):
    """K slots, each one trainable flat adapter.

    Args:
        slots: K.
        size: P, parameters of one adapter.
        complete: let every slot take part in each forward, used or not (ZeRO's buckets expect a gradient of
            every parameter).
    """

    def __init__(self, *, slots: int, size: int, device: torch.device, complete: bool = False) -> None:
        super().__init__()
        self.complete = complete
        self.slots = nn.ParameterList(nn.Parameter(torch.zeros(size, device=device)) for _ in range(slots))

    def forward(self, count: int, masks: Sequence[Tensor | None]) -> Tensor:
        """Stack the first ``count`` slots to [count, P]; where a mask is 0 no gradient flows."""
        used = [_masked(slot, mask) for slot, mask in zip(list(self.slots)[:count], masks, strict=True)]
        if not self.complete:
            return torch.stack(used)
        return torch.stack([*used, *list(self.slots)[count:]])[:count]


def _masked(slot: Tensor, mask: Tensor | None) -> Tensor:
    return slot if mask is None else slot * mask + slot.detach() * (1 - mask)
