"""Which kind a base model is and which path it takes, by its configuration. No torch."""

from typing import Any, Literal

Kind = Literal["causal", "encoder-decoder", "masked"]
"""How a base model reads and writes: it continues a text, writes a text after reading another, or fills in masks."""
Path = Literal["fast", "generic", "encoder-decoder", "masked"]
"""How a base model runs. The first two are for causal models; every other kind has one path, of its own name."""
# Families whose layers do more than attend to keys and values, or attend in code of their own. `make families` shows
# which path each family passes the checks of.
GENERIC = frozenset({
    "axk2", "bailing_hybrid", "bamba", "bart", "big_bird", "bigbird_pegasus", "blenderbot", "blenderbot-small",
    "bloom", "camembert", "codegen", "data2vec-text", "deepseek_v32", "deepseek_v4", "diffllama", "doge",
    "dots3_note_text", "falcon", "falcon_h1", "falcon_mamba", "git", "glm_moe_dsa", "gpt_neo", "gpt_neox_japanese",
    "gptj", "granitemoehybrid", "hrm_text", "hy_v4", "inkling2_text", "inkling_text", "jamba", "kimi_linear",
    "lfm2", "lfm2_moe", "lfm3", "mamba", "mamba2", "marian", "mbart", "megatron-bert", "minimax", "mpt", "mvp",
    "nemotron_h", "olmo_hybrid", "openai-gpt", "pegasus", "plbart", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text",
    "qwen3_5_text", "qwen3_next", "qwen4_exp", "qwen4_exp_text", "recurrent_gemma", "rembert", "roberta",
    "roberta-prelayernorm", "roformer", "rwkv", "trocr", "xglm", "xlm-roberta", "xlm-roberta-xl", "xlstm", "xmod",
    "zamba", "zamba2", "zaya",
})  # fmt: skip
# Families that fill in masks, unless their configuration says that they are decoders.
MASKED = frozenset({
    "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert",
    "electra", "ernie", "esm", "eurobert", "flaubert", "fnet", "ibert", "jina_embeddings_v3", "layoutlm",
    "longformer", "luke", "megatron-bert", "mobilebert", "modernbert", "mpnet", "mra", "nomic_bert", "nystromformer",
    "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "squeezebert", "xlm", "xlm-roberta",
    "xlm-roberta-xl", "xmod", "yoso",
})  # fmt: skip
# Families that are encoder-decoders, where their configuration does not say it.
_ENCODER_DECODERS = frozenset({
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "fsmt", "led", "longt5", "m2m_100", "marian", "mbart",
    "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet", "switch_transformers", "t5", "t5gemma",
    "umt5",
})  # fmt: skip
# Families that count positions from the padding token's id on, so that a row has fewer than there are embeddings.
_AFTER_PADDING = frozenset({
    "camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip


def kind_of(config: Any) -> Kind:
    """Return which kind a base model is.

    Args:
        config: the configuration, as an object or as a dictionary.
    """
    family = str(_field(config, "model_type"))  # of a file, it may be anything
    both = _field(config, "is_encoder_decoder")
    if both or (both is None and family in _ENCODER_DECODERS):
        return "encoder-decoder"
    decodes = _field(config, "is_decoder") or _field(config, "causal")
    return "masked" if family in MASKED and not decodes else "causal"


def _field(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, dict) else getattr(config, name, None)


def family_of(config: dict[str, Any]) -> str:
    """Return the ``model_type`` of the part of a base model that reads text; empty if its configuration has none."""
    text = config.get("text_config")
    of_text = text.get("model_type") if isinstance(text, dict) else None
    return str(of_text or config.get("model_type", ""))


def row_limit(config: Any) -> int | None:
    """Return how many tokens a row may have; None where a base model's configuration does not say.

    With positions scaled by ``longrope`` (2402.13753), a row longer than the original limit changes the rotary
    embeddings of all rows of its batch. So rows end at the original limit.

    Args:
        config: the configuration, as an object or as a dictionary.
    """
    if isinstance(config, dict) and isinstance(config.get("text_config"), dict):
        config = config["text_config"]
    limits = [_field(config, "max_position_embeddings")]
    if str(_field(config, "model_type")) in _AFTER_PADDING and type(limits[0]) is int:
        padding = _field(config, "pad_token_id")
        limits[0] -= (padding if type(padding) is int else 1) + 1  # 1 is what these families take where it is not said
    for name in ("rope_parameters", "rope_scaling"):
        limits += _original_limits(_field(config, name), whole=_field(config, "original_max_position_embeddings"))
    return min((limit for limit in limits if type(limit) is int), default=None)


def _original_limits(rope: Any, *, whole: Any) -> list[Any]:
    """Return the original limits of a base model's kinds of positions, if they are scaled by ``longrope``."""
    if not isinstance(rope, dict):
        return []
    if "longrope" in (rope.get("rope_type"), rope.get("type")):
        return [rope.get("original_max_position_embeddings") or whole]
    return [limit for part in rope.values() for limit in _original_limits(part, whole=whole)]


def path_of(chosen: Literal["auto"] | Path, *, family: str, kind: Kind = "causal") -> Path:
    """Return the path of a grid.

    Args:
        chosen: the grid's ``path``.
        family: the base model's ``model_type``.
        kind: the base model's kind.
    """
    if chosen != "auto":
        return chosen
    if kind != "causal":
        return kind
    return "generic" if family in GENERIC else "fast"


def kind_on(path: Path) -> Kind:
    """Return the kind of base model that runs on a path."""
    return "causal" if path in {"fast", "generic"} else path  # type: ignore[return-value] # what is left are the others
