"""Which path a base model takes, by the family that its configuration names. No torch."""

from typing import Any, Literal

Path = Literal["fast", "generic"]
# Families whose layers do more than attend to keys and values, or attend in code of their own. `make families` shows
# which path each family passes the checks of.
GENERIC = frozenset({
    "bailing_hybrid", "bamba", "bart", "big_bird", "bigbird_pegasus", "blenderbot", "blenderbot-small", "bloom",
    "camembert", "codegen", "data2vec-text", "deepseek_v4", "diffllama", "doge", "dots3_note_text", "falcon",
    "falcon_h1", "falcon_mamba", "git", "glm_moe_dsa", "gpt_neo", "gpt_neox_japanese", "gptj", "granitemoehybrid",
    "hrm_text", "inkling2_text", "inkling_text", "jamba", "kimi_linear", "lfm2", "lfm2_moe", "lfm3", "mamba",
    "mamba2", "marian", "mbart", "megatron-bert", "minimax", "mpt", "mvp", "nemotron_h", "olmo_hybrid",
    "openai-gpt", "pegasus", "plbart", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next",
    "qwen4_exp", "qwen4_exp_text", "recurrent_gemma", "rembert", "roberta", "roberta-prelayernorm", "roformer",
    "rwkv", "trocr", "xglm", "xlm-roberta", "xlm-roberta-xl", "xlstm", "xmod", "zamba", "zamba2", "zaya",
})  # fmt: skip


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

    def field(name: str) -> Any:
        return config.get(name) if isinstance(config, dict) else getattr(config, name, None)

    limits = [field("max_position_embeddings")]
    for name in ("rope_parameters", "rope_scaling"):
        limits += _original_limits(field(name), whole=field("original_max_position_embeddings"))
    return min((limit for limit in limits if type(limit) is int), default=None)


def _original_limits(rope: Any, *, whole: Any) -> list[Any]:
    """Return the original limits of a base model's kinds of positions, if they are scaled by ``longrope``."""
    if not isinstance(rope, dict):
        return []
    if "longrope" in (rope.get("rope_type"), rope.get("type")):
        return [rope.get("original_max_position_embeddings") or whole]
    return [limit for part in rope.values() for limit in _original_limits(part, whole=whole)]


def path_of(chosen: Literal["auto", "fast", "generic"], *, family: str) -> Path:
    """Return the path of a grid.

    Args:
        chosen: the grid's ``path``.
        family: the base model's ``model_type``.
    """
    if chosen != "auto":
        return chosen
    return "generic" if family in GENERIC else "fast"
