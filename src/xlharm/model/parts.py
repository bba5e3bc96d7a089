"""Parts of an adapter: its decoder layers, its kinds of module, its target modules, and its singular components."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor

from xlharm.model.arithmetic import combine
from xlharm.model.layout import Layout, Segment

Division = Literal["layer", "module", "target", "component"]
"""How an adapter is divided into parts: by decoder layer; by the module within a layer that its linear layers belong
to (`self_attn`, `mlp`, as the base names them); by target module (`q_proj`); by singular component of each linear
layer's or expert's ΔW, the largest first."""


@dataclass(frozen=True)
class Part:
    """A part of an adapter.

    Attributes:
        by: the division that it belongs to.
        name: index of the layer or component, or name of the module.
    """

    by: Division
    name: str


def parts_of(layout: Layout, by: Division, *, components: int) -> list[Part]:
    """Return the parts of a division, in the model's order.

    Args:
        layout: how adapters are cut into layers.
        by: the division.
        components: largest number of components.
    """
    if by == "component":
        return [Part(by, str(i)) for i in range(min(components, layout.rank))]
    return [Part(by, name) for name in dict.fromkeys(_name(s, by) for s in layout.segments)]


def _name(segment: Segment, by: Division) -> str:
    match by:
        case "layer":
            return str(segment.layer)
        case "target":
            return segment.target
        case "module":
            names = segment.name.split(".")
            within = names[names.index(str(segment.layer)) + 1 :] if segment.layer >= 0 else names[-2:]
            return within[0]
        case "component":
            raise ValueError("a component is a part of every linear layer")
        case _:
            assert_never(by)


def without(adapter: Tensor, parts: Sequence[Part], *, layout: Layout) -> Iterator[Tensor]:
    """Yield an adapter [P] without each of some parts, that is with zeros in their place.

    For components the factors B and A of each linear layer are rewritten by a singular value decomposition, which
    leaves their product as it is.

    Args:
        adapter: [P].
        parts: the parts, each of which is left out alone.
        layout: how the adapter is cut into layers.
    """
    spectral: Tensor | None = None
    for part in parts:
        if part.by == "component":
            spectral = _spectral(adapter, layout) if spectral is None else spectral
            yield _without_component(spectral, int(part.name), layout)
        else:
            rest = adapter.clone()
            for segment in layout.segments:
                if _name(segment, part.by) == part.name:
                    rest[segment.offset : segment.offset + segment.size(layout.rank)] = 0
            yield rest


def _spectral(adapter: Tensor, layout: Layout) -> Tensor:
    """Return the same adapter with the factors of a singular value decomposition, the largest value first."""
    return combine([(1.0, adapter)], parent=adapter, layout=layout).adapter


def _without_component(spectral: Tensor, component: int, layout: Layout) -> Tensor:
    rest = spectral.clone()
    for segment in layout.segments:
        a, _ = segment.factors(rest, rank=layout.rank)
        a[:, component] = 0  # the row of A; the column of B is then multiplied by 0
    return rest


def stacks(adapter: Tensor, parts: Sequence[Part], *, layout: Layout, size: int) -> Iterator[Tensor]:
    """Yield stacks [≤ size, P] of an adapter as it is, without anything of it (zeros), and without each part.

    Args:
        adapter: [P].
        parts: the parts.
        layout: how the adapter is cut into layers.
        size: largest number of adapters of a stack.
    """
    waiting = [adapter, torch.zeros_like(adapter)]
    for rest in without(adapter, parts, layout=layout):
        if len(waiting) >= size:
            yield torch.stack(waiting[:size])
            waiting = waiting[size:]
        waiting.append(rest)
    for start in range(0, len(waiting), size):
        yield torch.stack(waiting[start : start + size])
