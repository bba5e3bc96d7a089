"""LoRA on experts that are stacked to one parameter: one adapter for each expert and slot of a pack.

transformers keeps the experts of a layer in parameters [experts, …] of one module, and lets a function compute them
(``ALL_EXPERTS_FUNCTIONS``). Ours sorts pairs of token and expert by (expert, slot): one grouped product over experts is
then the base's part, and two over (expert, slot) are the adapters' part.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.model.grouped import low_rank, moved, times_frozen

_NAME = "xlharm"
_PLACE = "xlharm_adapters"  # attribute of an experts' module: its adapters, by parameter


def stacked_parameters(model: nn.Module) -> dict[str, nn.Module]:
    """Return the stacked parameters that can have adapters, by name, each with its module, in the model's order.

    They are those of modules whose experts transformers lets a function of ours compute: such a module says whether its
    experts have gates and biases, and whether inputs come first.
    """
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        for leaf in _leaves(module):
            found[f"{name}.{leaf}"] = module
    return found


def _leaves(module: Any) -> Sequence[str]:
    if not all(hasattr(module, name) for name in ("is_transposed", "has_gate", "has_bias", "_apply_gate", "config")):
        return ()
    leaves = ("gate_up_proj" if module.has_gate else "up_proj", "down_proj")
    return leaves if all(getattr(getattr(module, leaf, None), "ndim", 0) == 3 for leaf in leaves) else ()


def sizes_of_stack(module: Any, leaf: str) -> tuple[int, int, int]:
    """Return the number of experts, their input width and their output width."""
    weight = getattr(module, leaf)
    experts, *sides = getattr(weight, "ds_shape", weight.shape)  # a parameter that ZeRO has partitioned is empty
    first, second = sides
    return (experts, first, second) if module.is_transposed else (experts, second, first)


@dataclass
class StackedExperts:
    """The adapters of the current pack on one stacked parameter.

    Attributes:
        module: the module that computes the experts.
        leaf: name of the parameter in it.
        name: path of the parameter in the base model.
        scale: factor on the adapters' output.
        check: is called with the name and with the number of tokens of each call with adapters.
        a: [experts · K, rank, in]; the K adapters of an expert follow one another.
        b: [experts · K, out, rank].
        slots: K.
        ends: [K], end of each adapter's tokens; None if all have equally many.
    """

    module: Any
    leaf: str
    name: str
    scale: float
    check: Callable[[str, int], None]
    a: Tensor | None = None
    b: Tensor | None = None
    slots: int = 0
    ends: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """The base model's weight [experts, …]."""
        weight: Tensor = getattr(self.module, self.leaf)
        return weight

    def install(self) -> None:
        """Make the module find these adapters."""
        if _PLACE not in self.module.__dict__:
            setattr(self.module, _PLACE, {})
        self.module.__dict__[_PLACE][self.leaf] = self

    def use(self, a: Tensor, b: Tensor, *, ends: Tensor | None) -> None:
        """Use adapters a [K, experts, rank, in] and b [K, experts, out, rank]."""
        self.slots, self.ends = len(a), ends
        self.a = a.transpose(0, 1).flatten(0, 1)
        self.b = b.transpose(0, 1).flatten(0, 1)

    def rest(self) -> None:
        """Use no adapters."""
        self.a = self.b = self.ends = None


def uninstall_experts(model: nn.Module) -> None:
    """Take the adapters from all experts' modules."""
    for module in model.modules():
        module.__dict__.pop(_PLACE, None)


@contextmanager
def computing(stacks: Sequence[StackedExperts]) -> Iterator[None]:
    """Compute the experts of these stacks by ``experts_forward`` within a ``with`` block."""
    if stacks:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

        ALL_EXPERTS_FUNCTIONS.register(_NAME, experts_forward)
    configs = {id(stack.module.config): stack.module.config for stack in stacks}.values()
    before = [config._experts_implementation for config in configs]  # noqa: SLF001 - no public way back
    for config in configs:
        config._experts_implementation = _NAME  # noqa: SLF001 - likewise
    try:
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._experts_implementation = name  # noqa: SLF001 - likewise


def experts_forward(module: Any, hidden: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
    """Compute a layer's experts with the adapters of the pack; as ``grouped_mm_experts_forward`` of transformers.

    Args:
        module: the experts' module.
        hidden: [tokens, width]; the tokens of one slot are contiguous.
        experts: [tokens, chosen], the experts of each token.
        weights: [tokens, chosen], the weight of each of them.

    Returns:
        [tokens, width].
    """
    adapters: dict[str, StackedExperts] = module.__dict__[_PLACE]
    tokens, chosen = experts.shape
    if not torch.compiler.is_compiling():
        for stack in adapters.values():
            stack.check(stack.name, tokens)
    one = next(iter(adapters.values()))
    slots, count = one.slots, len(one.weight)
    slot = _slots(one, tokens, device=hidden.device)
    group, order = torch.sort(experts.flatten() * slots + slot.repeat_interleave(chosen), stable=True)
    places = torch.arange(len(order), device=order.device)
    back = torch.empty_like(order).scatter_(0, order, places)
    groups = torch.arange(count * slots, device=order.device)
    ends = torch.searchsorted(group, groups, right=True, out_int32=True)

    def linear(leaf: str, x: Tensor) -> Tensor:
        weight = getattr(module, leaf)
        inputs_first = weight if module.is_transposed else weight.transpose(1, 2)
        x = x.to(weight.dtype)
        y = times_frozen(x, inputs_first, ends[slots - 1 :: slots].contiguous())
        if module.has_bias:
            y = y + getattr(module, f"{leaf}_bias")[group // slots]
        stack = adapters.get(leaf)
        if stack is None or stack.a is None or stack.b is None:
            return y
        return y + low_rank(x, stack.a, stack.b, scale=stack.scale, ends=ends)

    pairs = hidden[:, None].expand(-1, chosen, -1).flatten(0, 1)
    x = linear("gate_up_proj" if module.has_gate else "up_proj", moved(pairs, order, back))
    x = linear("down_proj", module._apply_gate(x) if module.has_gate else module.act_fn(x))  # noqa: SLF001 - as transformers calls it
    if getattr(module, "has_post_expert_norm", False):  # newer than 5.17
        x = module.post_expert_norm(x)
    x = x * moved(weights.reshape(-1, 1), order, back)
    return moved(x, back, order).view(tokens, chosen, -1).sum(1).to(hidden.dtype)


def _slots(stack: StackedExperts, tokens: int, *, device: torch.device) -> Tensor:
    """Return the slot of each token [tokens]."""
    places = torch.arange(tokens, device=device)
    if stack.ends is not None:
        return torch.searchsorted(stack.ends.long(), places, right=True)
    return places // (tokens // stack.slots)
