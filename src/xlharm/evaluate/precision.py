"""Let a base model compute in float32 for a while, to see what its own precision costs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from xlharm.errors import UserError
from xlharm.model.base import layers


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Let a base model compute in float32 within a ``with`` block; only one decoder layer at a time is copied."""
    try:
        blocks: list[nn.Module] = list(layers(model))
    except (UserError, AttributeError):
        blocks = []
    inner = {id(p) for block in blocks for p in _tensors(block)}
    rest = [p for p in _tensors(model) if id(p) not in inner]
    kept: dict[nn.Module, list[tuple[Any, Tensor]]] = {}

    def widen(module: nn.Module, _inputs: Any) -> None:
        kept[module] = _widened(_tensors(module))

    def narrow(module: nn.Module, _inputs: Any, _output: Any) -> None:
        _restore(kept.pop(module))

    handles = [b.register_forward_pre_hook(widen) for b in blocks] + [b.register_forward_hook(narrow) for b in blocks]
    outer = _widened(rest)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for pairs in (*kept.values(), outer):
            _restore(pairs)


def _tensors(module: nn.Module) -> list[Any]:
    return [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]


def _widened(tensors: Sequence[Any]) -> list[tuple[Any, Tensor]]:
    pairs = [(tensor, tensor.data) for tensor in tensors]
    for tensor, data in pairs:
        tensor.data = data.float()
    return pairs


def _restore(pairs: Sequence[tuple[Any, Tensor]]) -> None:
    for tensor, data in pairs:
        tensor.data = data
