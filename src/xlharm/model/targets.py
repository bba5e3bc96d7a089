"""Which linear layers of a base model adapters are put on."""

import argparse
import json
from typing import Any

import torch

from xlharm.model.base import UNSUPPORTED, auto_class, last_hidden
from xlharm.model.layout import adaptable
from xlharm.plan.families import kind_of


@torch.no_grad()
def all_linear(model: Any) -> tuple[str, ...]:
    """Return the names of the layers that can have adapters and are called with all tokens, in the model's order.

    Args:
        model: the base model without adapter layers; it may be on the meta device.
    """
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
    return tuple(dict.fromkeys(name.rsplit(".", 1)[-1] for name in linears if name in called))


def layers_on_meta(location: str, *, revision: str | None, trust_remote_code: bool) -> tuple[str, ...]:
    """Return ``all_linear`` of a base model from its configuration alone; no weights are read.

    Args:
        location: folder or hub id.
        revision: hub commit; None for a folder.
        trust_remote_code: whether code from the model's repository may run.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=trust_remote_code)
    kind = kind_of(config)
    text = config.get_text_config() if kind == "causal" else config
    with torch.device("meta"):
        model = auto_class(kind).from_config(config if text is config else text, trust_remote_code=trust_remote_code)
    return all_linear(model.eval())


def main(arguments: list[str] | None = None) -> None:
    """Print the layers of a base model as JSON, for ``plan.targets``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("location")
    parser.add_argument("--revision")
    parser.add_argument("--trust-remote-code", action="store_true")
    given = parser.parse_args(arguments)
    names = layers_on_meta(given.location, revision=given.revision, trust_remote_code=given.trust_remote_code)
    print(json.dumps(names))  # noqa: T201 - the answer to the process that asks


if __name__ == "__main__":
    main()
