"""A small configuration of any causal model type of transformers, with random weights that reach every part of it."""

import dataclasses
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForMultimodalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 512
# Every field of a size that some configuration has, by the value that it gets.
_SIZES: dict[Any, str] = {
    2: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
       "num_encoder_layers num_blocks num_key_value_heads num_kv_heads swa_num_key_value_heads num_experts_per_tok "
       "moe_topk moe_k top_k_experts n_mamba_heads linear_num_key_heads index_n_heads indexer_n_heads",
    64: "hidden_size d_model n_embd emb_dim embedding_size lru_width attention_hidden_size word_embed_proj_dim "
        "embedding_dim d_embed sliding_window attention_window_size window_size local_attention sliding_window_size "
        "local_attention_window_len max_source_positions index_topk",
    96: "intermediate_size ffn_dim n_inner decoder_ffn_dim encoder_ffn_dim dff dim_ff d_inner feed_forward_size "
        "ffn_hidden_size intermediate_size_mlp dense_intermediate_size expert_ffn_hidden_size "
        "prefix_dense_intermediate_size",
    48: "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size "
        "shared_experts_intermediate_size moe_shared_expert_intermediate_size",
    4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads "
       "num_decoder_attention_heads num_encoder_attention_heads attention_heads swa_num_attention_heads num_experts "
       "num_local_experts moe_num_experts n_routed_experts mamba_dt_rank time_step_rank linear_num_heads "
       "linear_num_value_heads",
    16: "head_dim dim_head d_head attention_head_dim attention_head_size swa_head_dim kv_channels linear_head_dim "
        "index_head_dim linear_key_head_dim linear_value_head_dim qk_nope_head_dim v_head_dim indexer_head_dim "
        "hidden_size_per_layer_input mamba_d_head mamba_head_dim mamba_chunk_size chunk_size router_hidden_size",
    8: "qk_rope_head_dim state_size ssm_state_size mamba_d_state mamba_n_heads mamba_num_heads "
       "gated_norm_rank adapter_rank laurel_rank rotary_dim",
    32: "q_lora_rank kv_lora_rank o_lora_rank",
    24: "qk_head_dim",
    128: "mamba_d_ssm",
    256: "max_position_embeddings n_positions n_ctx max_seq_len max_target_positions context_length",
    VOCABULARY: "vocab_size decoder_vocab_size unpadded_vocab_size vocab_size_per_layer_input",
    1: "n_shared_experts num_shared_experts moe_num_shared_experts n_group topk_group first_k_dense_replace "
       "num_dense_layers zero_expert_num mamba_n_groups mamba_ngroups n_groups indexer_kv_heads attn_layer_offset "
       "expert_layer_offset eos_token_id",
    0: "bos_token_id decoder_start_token_id",
}  # fmt: skip
_FIELDS: dict[str, Any] = {
    **{name: size for size, names in _SIZES.items() for name in names.split()},
    "attn_layer_period": 2, "expert_layer_period": 2, "pad_token_id": 2, "unk_token_id": None, "is_decoder": True,
}  # fmt: skip
# Fields that mean something else when they are set although the default does not.
_ONLY_IF_SET = {
    "decoder_vocab_size", "n_group", "topk_group", "qk_head_dim", "attention_head_dim", "d_head", "mamba_d_head",
    "linear_key_head_dim", "indexer_head_dim", "indexer_n_heads", "indexer_kv_heads", "num_blocks", "embedding_dim",
    "prefix_dense_intermediate_size", "top_k_experts", "n_shared_experts", "attention_hidden_size",
}  # fmt: skip
_LATENT = (
    "axk1 axk2 bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_linear minicpm3 "
    "youtu longcat_flash dots3_note_text"
)
_HYBRID = ["linear_attention", "linear_attention", "hybrid", "linear_attention", "hybrid"]
_SHARED = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
}
_CONVOLUTIONS = {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2}
# What else a type needs so that its sizes fit together.
_TYPES: dict[str, dict[str, Any]] = {
    **{kind: {"num_key_value_heads": 4} for kind in _LATENT.split()},
    "longcat_flash": {"num_key_value_heads": 4, "head_dim": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gemma3n_text": {**_SHARED, "activation_sparsity_pattern": [0.5, 0.5, 0.0, 0.0]},
    "gemma4_text": {**_SHARED, "global_head_dim": 32},
    "lfm2": _CONVOLUTIONS, "lfm2_moe": _CONVOLUTIONS,
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "qwen4_exp_text": {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 64,
                       "indexer_compress_ratio": 4, "hc_lowrank": 8, "ngram_vocab_size_base": 1000,
                       "split_ngram_parts": 2},
    **{f"{kind}_text": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}
       for kind in ("qwen2_vl", "qwen2_5_vl")},
    "reformer": {"axial_pos_embds": False},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": _HYBRID, "num_hidden_layers": 5, "num_key_value_heads": 4,
              "attention_hidden_size": 128, "attention_head_dim": 32},
    "zaya": {"num_experts_per_tok": 1},
    "dots1": {"n_shared_experts": 1},
    "llama4_text": {"floor_scale": 4, "no_rope_layers": [1, 0]},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8},
             "ffn_config": {"hidden_size": 64, "ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2}},
}  # fmt: skip
_NOT_FOR_EYES = {"vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "max_position_embeddings", "is_decoder"}


def small_config(kind: str, **fields: Any) -> Any:
    """Return a configuration of a model type with every kind of layer that its default has, and no more.

    Args:
        kind: a ``model_type``.
        fields: fields to set otherwise.
    """
    config_class = CONFIG_MAPPING[kind]
    chosen = {**_sizes(config_class), **_layer_types(config_class), **_TYPES.get(kind, {}), **fields}
    for name in getattr(config_class, "sub_configs", None) or {}:
        inner = None if name in chosen else getattr(config_class(), name, None)
        if inner is None:
            continue
        chosen[name] = small_config(inner.model_type) if name in {"text_config", "decoder"} else _small_part(inner)
        chosen[name] = chosen[name] if isinstance(chosen[name], dict) else chosen[name].to_dict()
    return config_class(**{n: v for n, v in chosen.items() if v is not None or n == "pad_token_id"})


def small_model(kind: str, **fields: Any) -> Any:
    """Return a causal model of a type, float32, in which every weight matters; or a whole that has one in it."""
    torch.manual_seed(0)
    config = small_config(kind, **fields)
    auto = AutoModelForCausalLM if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else AutoModelForMultimodalLM
    model: Any = auto.from_config(config).float().eval()
    return stirred(model.requires_grad_(requires_grad=False))


@torch.no_grad()
def stirred(model: Any) -> Any:
    """Change zeros and ones, which many weights begin as, and give matrices the gain of a trained model."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        leaf = name.rsplit(".", 1)[-1].lower()
        if (
            parameter.ndim < 2
            or "conv1d" in name
            or any(w in leaf for w in ("a_log", "dt_bias", "time_"))
            or leaf == "d"
        ):
            parameter.add_(noise * (1.0 if "sink" in name else 0.1))
        elif any(word in name for word in ("embed", "wte", "wpe")):
            parameter.copy_(noise * 0.5)
        else:
            parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    for name, buffer in model.named_buffers():
        if name.endswith(("correction_bias", "expert_bias")):
            buffer.add_(torch.randn(buffer.shape, generator=generator) * 0.05)
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx] = 0.0  # as trained models have it
    return model


def _defaults(config_class: Any) -> dict[str, Any]:
    missing = dataclasses.MISSING
    return {
        f.name: f.default if f.default is not missing else None if f.default_factory is missing else f.default_factory()
        for f in dataclasses.fields(config_class)
    }


def _sizes(config_class: Any) -> dict[str, Any]:
    defaults = _defaults(config_class)
    return {n: _FIELDS[n] for n, d in defaults.items() if n in _FIELDS and not (d is None and n in _ONLY_IF_SET)}


def _layer_types(config_class: Any) -> dict[str, Any]:
    """Return lists of layer types with each kind once, and the number of layers that they need."""
    try:
        default = config_class()
    except Exception:  # noqa: BLE001 - some configurations have no default; they have no list of layers either
        return {}
    names = _defaults(config_class)
    kinds = {
        name: list(dict.fromkeys(getattr(default, name)))
        for name in ("layer_types", "layers_block_type", "mlp_layer_types")
        if name in names and isinstance(getattr(default, name, None), list | tuple) and getattr(default, name)
    }
    if not kinds:
        return {}
    depth = max(2, *map(len, kinds.values()))
    counts = {name: depth for name in ("num_hidden_layers", "n_layer", "num_layers") if name in names}
    return {**{name: [some[i % len(some)] for i in range(depth)] for name, some in kinds.items()}, **counts}


def _small_part(config: Any) -> dict[str, Any]:
    """Return a small configuration of a part that sees or hears."""
    sizes = {n: v for n, v in _sizes(type(config)).items() if n not in _NOT_FOR_EYES}
    eyes = {"image_size": 28, "patch_size": 14, "num_channels": 3, "depth": 1}
    return {**config.to_dict(), **sizes, **{n: v for n, v in eyes.items() if n in _defaults(type(config))}}
