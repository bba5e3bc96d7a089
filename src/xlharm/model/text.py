"""The part that reads text of a model that also sees or hears."""

from typing import Any

import torch
from torch import Tensor, nn

from xlharm.errors import UserError
from xlharm.plan.families import kind_of


def auto_class(config: Any) -> Any:
    """Return transformers' auto class for a base model, by its kind: among causal ones some have images or sound.

    Args:
        config: the base model's configuration.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForMultimodalLM,
        AutoModelForSeq2SeqLM,
    )

    match kind_of(config):
        case "encoder-decoder":
            return AutoModelForSeq2SeqLM
        case "masked":
            return AutoModelForMaskedLM
    known: Any = AutoModelForCausalLM._model_mapping  # noqa: SLF001 - transformers has no public list
    remote = "AutoModelForCausalLM" in getattr(config, "auto_map", {})
    if type(config) in known or remote or type(config) not in AutoModelForMultimodalLM._model_mapping:  # noqa: SLF001 - likewise
        return AutoModelForCausalLM
    return AutoModelForMultimodalLM


def on_meta(config: Any, *, trust_remote_code: bool) -> Any:
    """Return a base model as transformers loads it, on the meta device: without weights.

    Raises:
        UserError: transformers cannot build it.
    """
    try:
        with torch.device("meta"):
            return auto_class(config).from_config(config, trust_remote_code=trust_remote_code).eval()
    except (ValueError, ImportError, OSError) as error:
        raise UserError(f"base: cannot be built: {' '.join(str(error).split())[:300]}") from None


def has_other_parts(model: Any) -> bool:
    """Whether a causal model has parts that do not read text."""
    return kind_of(model.config) == "causal" and model.config.get_text_config() is not model.config


def text_part(whole: Any) -> Any:
    """Return the part of a model that reads text: a causal language model on the same parameters.

    Its layers are named as in a causal language model: ``model.layers.0…``. If transformers has no causal language
    model of its kind (Qwen2.5-VL), a plain one is made of the decoder and the output layer.

    Args:
        whole: the model; it may be on the meta device.

    Raises:
        UserError: it has no decoder and output layer that can be found.
    """
    from transformers import AutoModelForCausalLM

    decoder, output = whole.get_decoder(), whole.get_output_embeddings()
    if decoder is None or decoder is whole or output is None or not hasattr(decoder, "config"):
        raise UserError(f"base: xlharm does not find the part of {type(whole).__name__} that reads text")
    if type(decoder.config) in AutoModelForCausalLM._model_mapping:  # noqa: SLF001 - transformers has no public list
        with torch.device("meta"):
            part = AutoModelForCausalLM.from_config(decoder.config)
        setattr(part, part.base_model_prefix, decoder)
        part.set_output_embeddings(output)
        part.config = decoder.config  # the object that the layers read their attention from
    else:
        part = _plain(decoder, output)
    return part.eval()


def _plain(decoder: Any, output: nn.Module) -> Any:
    """Return a causal language model of a decoder and an output layer."""
    from transformers import GenerationMixin, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutputWithPast

    class TextModel(PreTrainedModel, GenerationMixin):  # type: ignore[misc] # transformers is not followed
        """A decoder and an output layer."""

        base_model_prefix = "model"
        _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

        def __init__(self) -> None:
            super().__init__(decoder.config)
            self.model, self.lm_head = decoder, output

        @classmethod
        def _can_set_experts_implementation(cls) -> bool:
            return True  # transformers looks for its experts in the source file of the class

        def get_input_embeddings(self) -> Any:
            return self.model.get_input_embeddings()

        def get_output_embeddings(self) -> Any:
            return self.lm_head

        def forward(self, input_ids: Tensor, **how: Any) -> Any:
            keep = how.pop("logits_to_keep", 0)
            out = self.model(input_ids=input_ids, **how)
            logits = self.lm_head(out.last_hidden_state[:, -keep:])
            return CausalLMOutputWithPast(logits=logits, past_key_values=getattr(out, "past_key_values", None))

    return TextModel()
