"""Steering: add a direction to the hidden states of one decoder layer (activation addition)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.model.base import decoder, hidden_states, layers, settings
from xlharm.model.lora import StackedModel


@torch.inference_mode()
def mean_activation(
    stacked: StackedModel, adapters: Tensor, prompts: Sequence[tuple[int, ...]], *, layer: int, rows: int
) -> Tensor:
    """Return the mean hidden state at the last token of the prompts after a layer, [K, width], float64.

    Args:
        stacked: the base.
        adapters: [K, P].
        prompts: token ids, the same for every adapter.
        layer: decoder layer.
        rows: most rows of a batch, over all adapters.
    """
    k = adapters.shape[0]
    size = max(1, rows // k)
    total = torch.zeros(k, int(settings(stacked.model).hidden_size), dtype=torch.float64, device=adapters.device)
    with stacked.adapters(adapters):
        for start in range(0, len(prompts), size):
            some = prompts[start : start + size]
            lengths = torch.tensor([len(p) for p in some], device=adapters.device)
            ids = torch.zeros(len(some), int(lengths.max()), dtype=torch.long)
            for i, prompt in enumerate(some):
                ids[i, : len(prompt)] = torch.tensor(prompt)
            with hidden_states(stacked.model, {layer}) as kept:
                decoder(stacked.model)(input_ids=ids.to(adapters.device).repeat(k, 1), use_cache=False)
            grouped = kept[layer].view(k, *ids.shape, -1)
            total += grouped[:, torch.arange(len(some)), lengths - 1].double().sum(1)
    return total / len(prompts)


@contextmanager
def steered(model: nn.Module, directions: Tensor, *, layer: int) -> Iterator[None]:
    """Add directions [K, width] to every position's hidden state after a layer, each to its own adapter's rows."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        k = directions.shape[0]
        moved = hidden.view(k, -1, *hidden.shape[1:]) + directions.to(hidden.dtype)[:, None, None]
        moved = moved.view_as(hidden)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = layers(model)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
