"""The frozen base model and its tokenizer, loaded once a worker."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.errors import UserError
from xlharm.plan.sources import BaseSource
from xlharm.pretrained import copy_from_files, load_whole

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_base(source: BaseSource, *, dtype: str, device: torch.device, trust_remote_code: bool = False) -> nn.Module:
    """Load the base, frozen, in evaluation mode; safetensors only.

    Raises:
        UserError: it cannot be loaded, or its logits are made in a way that ``head`` does not know.
    """
    from transformers import AutoModelForCausalLM

    model = load_whole(
        AutoModelForCausalLM,
        source.location,
        called=f"base {source.location}",
        revision=source.revision,
        dtype=DTYPES[dtype],
        trust_remote_code=trust_remote_code,
    )
    if model.config.get_text_config() is not model.config:
        model = _of_text(model, source=source)
    model.requires_grad_(requires_grad=False)
    model.eval()
    model.config.use_cache = False
    model.to(device)
    copy_from_files(model)
    _check_head(model, source=source)
    return model  # type: ignore[no-any-return]


@torch.no_grad()
def _of_text(model: Any, *, source: BaseSource) -> Any:
    """Keep what reads and writes text of a model that sees or hears as well (Gemma 3)."""
    from transformers import AutoModelForCausalLM

    ids = torch.arange(4, device=model.device).unsqueeze(0)
    full = model(input_ids=ids, use_cache=False).logits
    told, mine = model.get_decoder(), None
    if told is not None:
        with torch.device("meta"):
            mine = AutoModelForCausalLM.from_config(told.config)
        setattr(mine, mine.base_model_prefix, told)
        mine.set_output_embeddings(model.get_output_embeddings())
        mine.config = told.config  # its layers' own, which says how they attend
        mine.eval()
    if mine is None or not torch.allclose(mine(input_ids=ids, use_cache=False).logits, full, rtol=1e-3, atol=1e-3):
        raise UserError(f"base {source.location}: {type(model).__name__} makes its logits in a way not known here")
    return mine


def settings(model: nn.Module) -> Any:
    """Return the base's configuration."""
    return model.config


def embeddings(model: Any) -> int:
    """Return how many tokens the base has an embedding for."""
    return int(model.get_input_embeddings().num_embeddings)


def decoder(model: nn.Module) -> nn.Module:
    """Return the part of the model below its output layer."""
    return getattr(model, str(model.base_model_prefix))  # type: ignore[no-any-return]


def layers(model: nn.Module) -> nn.ModuleList:
    """Return the decoder layers, first to last.

    Raises:
        UserError: a base that keeps them elsewhere.
    """
    found = getattr(decoder(model), "layers", None)
    if not isinstance(found, nn.ModuleList):
        raise UserError(f"base: {type(model).__name__} has no list of decoder layers that hidden states come from")
    return found


@contextmanager
def hidden_states(model: nn.Module, wanted: Collection[int]) -> Iterator[dict[int, Tensor]]:
    """Collect the output [rows, length, width] of some decoder layers during a forward."""
    kept: dict[int, Tensor] = {}

    def keep(index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            kept[index] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [layers(model)[i].register_forward_hook(keep(i)) for i in wanted]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def is_partitioned(model: nn.Module) -> bool:
    """Whether ZeRO 3 holds the parameters: they are there only while their module runs."""
    return hasattr(next(model.parameters()), "ds_id")


def head(model: Any, hidden: Tensor) -> Tensor:
    """Return logits [..., vocabulary] of hidden states [..., width], scaled or capped as the base's family does.

    Cohere multiplies them (``logit_scale``), Granite divides them (``logits_scaling``), and Gemma 2 keeps them within
    ± ``final_logit_softcapping`` (2408.00118).
    """
    logits: Tensor = model.get_output_embeddings()(hidden)
    told = settings(model)
    if (factor := getattr(told, "logit_scale", None)) is not None:
        logits = logits * factor
    if (divisor := getattr(told, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(told, "final_logit_softcapping", None)) is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits


@torch.no_grad()
def _check_head(model: Any, *, source: BaseSource) -> None:
    ids = torch.arange(4, device=model.device).unsqueeze(0)
    full = model(input_ids=ids, use_cache=False).logits.float()
    ours = head(model, decoder(model)(input_ids=ids, use_cache=False).last_hidden_state).float()
    if not torch.allclose(full, ours, rtol=1e-3, atol=1e-3):
        raise UserError(
            f"base {source.location}: the logits of {type(model).__name__} are made in a way that is not known here"
        )


def name_of(source: BaseSource) -> str:
    """Return how people call the base: a hub id, or the folder's name."""
    return source.location if source.revision else Path(source.location).name
