"""Which linear layers of a base model adapters are put on."""

from typing import Any

import torch

from xlharm.model.base import UNSUPPORTED, decoder
from xlharm.model.lora import adaptable


@torch.no_grad()
def all_linear(model: Any) -> tuple[str, ...]:
    """Return the names of the layers that can have adapters and are called, in the model's order.

    Args:
        model: the base model without adapter layers; it may be on the meta device.
    """
    linears = adaptable(model)
    called: set[str] = set()
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.add(name)) for name, module in linears.items()
    ]
    try:
        ids = torch.zeros(1, 4, dtype=torch.long, device=next(model.parameters()).device)
        decoder(model)(input_ids=ids, use_cache=False)
    except UNSUPPORTED:  # some code reads values, which the meta device has none of: the worker's check decides
        called.update(linears)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(dict.fromkeys(name.rsplit(".", 1)[-1] for name in linears if name in called))
