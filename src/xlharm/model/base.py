"""The frozen base model, which each worker loads once."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.errors import UserError
from xlharm.model.text import auto_class, has_other_parts, text_part
from xlharm.plan.families import Kind, kind_of
from xlharm.plan.sources import BaseSource
from xlharm.pretrained import copy_from_files, load_whole

# What the code of a base model of an unknown kind may raise when it is called in another way than it expects.
UNSUPPORTED = (TypeError, ValueError, KeyError, IndexError, AttributeError, NotImplementedError, RuntimeError)
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float8": torch.bfloat16,
}  # of what is not rounded further


def load_base(source: BaseSource, *, dtype: str, device: torch.device, trust_remote_code: bool = False) -> nn.Module:
    """Load the base model, frozen and in evaluation mode, from safetensors files.

    Args:
        source: where the base model is.
        dtype: a key of ``DTYPES``.
        device: device to load it to.
        trust_remote_code: whether code from the model's repository may run.

    Raises:
        UserError: the model cannot be loaded or is of another kind, or ``head`` does not compute its logits.
    """
    model = load_whole(
        auto_class(configuration(source, trust_remote_code=trust_remote_code)),
        source.location,
        called=f"base {source.location}",
        revision=source.revision,
        dtype=DTYPES[dtype],
        trust_remote_code=trust_remote_code,
    )
    if kind(model) != source.kind:
        raise UserError(f"base {source.location}: it is {kind(model)} by its configuration, not {source.kind}")
    if has_other_parts(model):
        model = _of_text(model, source=source)
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")  # transformers 5.17 leaves the bound out in its other implementations
    model.requires_grad_(requires_grad=False)
    model.eval()
    model.config.use_cache = False
    if dtype == "float8":
        from xlharm.model.float8 import to_float8

        to_float8(model, device=device)  # layer by layer: the whole in bfloat16 may not fit the device
    model.to(device)
    copy_from_files(model)
    _check_head(model, source=source)
    return model  # type: ignore[no-any-return] # transformers is not followed


def configuration(source: BaseSource, *, trust_remote_code: bool = False) -> Any:
    """Return the configuration of a base model's files.

    Raises:
        UserError: there is none that transformers knows.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            source.location, revision=source.revision, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise UserError(f"base {source.location}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None


@torch.no_grad()
def _of_text(whole: Any, *, source: BaseSource) -> Any:
    """Return the part of a model that reads text, if it computes the model's logits.

    Raises:
        UserError: it does not, or it cannot be found.
    """
    ids = torch.arange(4, device=whole.device).unsqueeze(0)
    try:
        full = whole(input_ids=ids, use_cache=False).logits
        part = text_part(whole)
        ours = part(input_ids=ids, use_cache=False).logits
    except torch.OutOfMemoryError:
        raise
    except UNSUPPORTED:
        ours = full = None
    if ours is None or ours.shape != full.shape or not torch.allclose(ours, full, rtol=1e-3, atol=1e-3):
        raise UserError(
            f"base {source.location}: xlharm does not find a part of {type(whole).__name__} that reads text and gives "
            "its logits: save the part that you mean as a causal language model, and name its folder as `base`"
        )
    return part


def settings(model: nn.Module) -> Any:
    """Return the base model's configuration."""
    return model.config


def kind(model: nn.Module) -> Kind:
    """Return which kind of base model it is."""
    return kind_of(settings(model))


def embeddings(model: Any) -> int:
    """Return how many tokens the base has an embedding for."""
    return int(model.get_input_embeddings().num_embeddings)


def decoder(model: Any) -> nn.Module:
    """Return the part of the model below its output layer; of an encoder-decoder its decoder."""
    if kind(model) == "encoder-decoder":
        part: nn.Module = model.get_decoder()
        return part
    named = getattr(model, str(model.base_model_prefix), None)
    body: nn.Module = model.model if named is None else named  # of Llama 4 the prefix names nothing
    parts = dict(body.named_children())
    return parts["decoder"] if parts.keys() == {"decoder"} else body  # a wrapper that the model passes by (BART)


def parts(model: Any) -> tuple[nn.Module, ...]:
    """Return the parts of the model that get token ids: an encoder, if there is one, and the decoder."""
    return (*([model.get_encoder()] if kind(model) == "encoder-decoder" else []), decoder(model))


def last_hidden(
    model: Any,
    ids: Tensor,
    *,
    real: Tensor | None = None,
    sources: Tensor | None = None,
    sources_real: Tensor | None = None,
) -> Tensor:
    """Return the last hidden states [rows, length, width] of whole rows, by transformers' own forward.

    Args:
        model: the base model.
        ids: [rows, length]; of an encoder-decoder those of the decoder.
        real: [rows, length], 0 at padding; for a masked model, in which every token attends to all others.
        sources: [rows, length of the encoder's rows], ids for the encoder.
        sources_real: like ``sources``, 0 at padding.
    """
    states: Tensor
    match kind(model):
        case "causal":
            states = decoder(model)(input_ids=ids, use_cache=False)[0]
        case "encoder-decoder":
            encoded = model.get_encoder()(input_ids=sources, attention_mask=sources_real)[0]
            states = decoder(model)(
                input_ids=ids, encoder_hidden_states=encoded, encoder_attention_mask=sources_real, use_cache=False
            )[0]
        case "masked":
            states = decoder(model)(input_ids=ids, attention_mask=real)[0]
    return states


def depth(model: nn.Module) -> int:
    """Return how many decoder layers there are."""
    config = settings(model)
    if kind(model) == "encoder-decoder":
        for name in ("decoder_layers", "num_decoder_layers"):
            if (count := getattr(config, name, None)) is not None:
                return int(count)
        config = config.get_text_config(decoder=True)  # T5Gemma has a configuration for each part
    return int(config.num_hidden_layers)


def layers(model: nn.Module) -> nn.ModuleList:
    """Return the decoder layers, first to last: the first list of as many modules as the configuration has layers.

    Raises:
        UserError: the decoder has no such list.
    """
    count = depth(model)
    for module in decoder(model).modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise UserError(f"base: {type(model).__name__} has no list of decoder layers to read hidden states from")


@contextmanager
def hidden_states(model: nn.Module, indices: Collection[int]) -> Iterator[dict[int, Tensor]]:
    """Collect the outputs [rows, length, width] of some decoder layers during a forward pass.

    Args:
        model: the base model.
        indices: of the layers, from 0.
    """
    states: dict[int, Tensor] = {}

    def hook_of(index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            states[index] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [layers(model)[i].register_forward_hook(hook_of(i)) for i in indices]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def is_partitioned(model: nn.Module) -> bool:
    """Whether ZeRO stage 3 has partitioned the parameters. They are then complete only while their module runs."""
    return hasattr(next(model.parameters()), "ds_id")


def head(model: Any, hidden: Tensor) -> Tensor:
    """Return logits [..., vocabulary] of hidden states [..., width], scaled or capped as in the base model's family.

    Cohere multiplies the logits by ``logit_scale``, Granite divides them by ``logits_scaling``, and Gemma 2 bounds them
    to ± ``final_logit_softcapping`` with tanh (2408.00118). Of other families, the model itself is called.
    """
    if getattr(model, "head_by_model", False):
        return _head_by_model(model, hidden)
    output = model.get_output_embeddings()
    logits: Tensor = output(hidden.to(output.weight.dtype))  # Mamba keeps its states in float32
    config = settings(model)
    if (factor := getattr(config, "logit_scale", None)) is not None:
        logits = logits * factor
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits


class _States:
    """What a decoder returns, with given last hidden states and nothing else."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, index: int | slice) -> Any:
        return (self.last_hidden_state,)[index]


def _head_by_model(model: Any, hidden: Tensor) -> Tensor:
    """Return the logits that the model itself computes, in a call in which its decoder returns ``hidden``."""
    body: Any = decoder(model)
    flat = hidden.reshape(1, -1, hidden.shape[-1])
    body.forward = lambda *_, **__: _States(flat)
    try:
        ids = torch.zeros(flat.shape[:2], dtype=torch.long, device=hidden.device)
        logits: Tensor = _whole(model, ids, encoded=flat[:, :1]).logits
    finally:
        del body.forward
    return logits.view(*hidden.shape[:-1], -1)


def _whole(model: Any, ids: Tensor, *, encoded: Tensor | None = None) -> Any:
    """Run the whole model; an encoder reads the same ids, unless what it gives is given.

    Args:
        model: the base model.
        ids: [rows, length].
        encoded: states to take for those of the encoder.
    """
    match kind(model):
        case "causal":
            return model(input_ids=ids, use_cache=False)
        case "encoder-decoder":
            from transformers.modeling_outputs import BaseModelOutput

            given = None if encoded is None else BaseModelOutput(last_hidden_state=encoded)
            read = {"input_ids": ids} if given is None else {"encoder_outputs": given}
            return model(decoder_input_ids=ids, use_cache=False, **read)
        case "masked":
            return model(input_ids=ids)


@torch.no_grad()
def _check_head(model: Any, *, source: BaseSource) -> None:
    """Choose how logits are computed: by the known formula, or else by the model itself.

    Raises:
        UserError: neither gives the model's own logits.
    """
    ids = torch.arange(4, device=model.device).unsqueeze(0)
    for by_model in (False, True):
        model.head_by_model = by_model
        try:
            full = _whole(model, ids).logits.float()
            ours = head(model, last_hidden(model, ids, sources=ids)).float()
        except torch.OutOfMemoryError:
            raise
        except UNSUPPORTED:
            continue
        if torch.allclose(full, ours, rtol=1e-3, atol=1e-3):
            return
    raise UserError(f"base {source.location}: xlharm does not know how {type(model).__name__} computes its logits")


def name_of(source: BaseSource) -> str:
    """Return a base model's name for people: its hub id, or the name of its folder."""
    return source.location if source.revision else Path(source.location).name
