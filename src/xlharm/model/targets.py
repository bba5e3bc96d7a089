"""Which linear layers of a base model adapters are put on."""

import argparse
import json
from typing import Any

import torch

from xlharm.model.base import UNSUPPORTED, last_hidden
from xlharm.model.layout import Segment, adaptable, all_segments
from xlharm.model.text import has_other_parts, on_meta, text_part


def all_linear(model: Any) -> tuple[str, ...]:
    """Return the names of the layers that can have adapters and are called with all tokens, linear ones first.

    Args:
        model: the base model without adapter layers; it may be on the meta device.
    """
    return tuple(dict.fromkeys(segment.target for segment in segments_called(model)))


@torch.no_grad()
def segments_called(model: Any) -> list[Segment]:
    """Return the layers of ``all_linear``, with their sizes."""
    linears = adaptable(model)
    ids = torch.zeros(2, 4, dtype=torch.long, device=next(model.parameters()).device)
    called: set[str] = set()

    def note(name: str, inputs: tuple[Any, ...]) -> None:
        if inputs and inputs[0].shape[:-1].numel() == ids.numel():
            called.add(name)

    handles = [
        module.register_forward_hook(lambda _, inputs, __, name=name: note(name, inputs))
        for name, module in linears.items()
    ]
    try:
        last_hidden(model, ids, sources=ids)
    except UNSUPPORTED:  # some code reads values, which the meta device has none of: the worker's check decides
        called.update(linears)
    finally:
        for handle in handles:
            handle.remove()
    return [segment for segment in all_segments(model) if segment.experts or segment.name in called]


def layers_on_meta(location: str, *, revision: str | None, trust_remote_code: bool) -> dict[str, tuple[int, int]]:
    """Return the layers of ``all_linear`` from a base model's configuration alone; no weights are read.

    With each name come the parameters of an adapter of rank 1 on all its layers, and their own number of weights.

    Args:
        location: folder or hub id.
        revision: hub commit; None for a folder.
        trust_remote_code: whether code from the model's repository may run.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=trust_remote_code)
    model = on_meta(config, trust_remote_code=trust_remote_code)
    sizes: dict[str, tuple[int, int]] = {}
    for segment in segments_called(text_part(model) if has_other_parts(model) else model):
        widths, weights = sizes.get(segment.target, (0, 0))
        widths += segment.matrices * (segment.fan_in + segment.fan_out)
        weights += segment.matrices * segment.fan_in * segment.fan_out
        sizes[segment.target] = widths, weights
    return sizes


def main(arguments: list[str] | None = None) -> None:
    """Print the layers of a base model as JSON, for ``plan.targets``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("location")
    parser.add_argument("--revision")
    parser.add_argument("--trust-remote-code", action="store_true")
    given = parser.parse_args(arguments)
    sizes = layers_on_meta(given.location, revision=given.revision, trust_remote_code=given.trust_remote_code)
    print(json.dumps(sizes))  # noqa: T201 - the answer to the process that asks


if __name__ == "__main__":
    main()
