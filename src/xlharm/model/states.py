"""Hidden states of a model at the end of its prompts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xlharm.model.base import decoder, hidden_states, layers
from xlharm.model.lora import StackedModel


@torch.inference_mode()
def last_token_states(
    stacked: StackedModel, adapter: Tensor, prompts: Sequence[tuple[int, ...]], *, batch: int
) -> Tensor:
    """Return the hidden states at the last token of each prompt after every decoder layer, [layers, prompts, width].

    They are float32, on the CPU.

    Args:
        stacked: the base model.
        adapter: [P].
        prompts: token ids.
        batch: largest number of prompts of a forward pass.
    """
    depth = len(layers(stacked.model))
    found: list[Tensor] = []
    with stacked.uncompiled(), stacked.adapters(adapter[None]):
        for start in range(0, len(prompts), batch):
            some = prompts[start : start + batch]
            ends = torch.tensor([len(prompt) - 1 for prompt in some], device=adapter.device)
            ids = torch.zeros(len(some), int(ends.max()) + 1, dtype=torch.long)  # causal: what follows changes nothing
            for i, prompt in enumerate(some):
                ids[i, : len(prompt)] = torch.tensor(prompt)
            with hidden_states(stacked.model, range(depth)) as kept:
                decoder(stacked.model)(input_ids=ids.to(adapter.device), use_cache=False)
            places = torch.arange(len(some), device=adapter.device)
            found.append(torch.stack([kept[layer][places, ends] for layer in range(depth)]).float().cpu())
    return torch.cat(found, dim=1)
