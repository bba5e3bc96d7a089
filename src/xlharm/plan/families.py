"""Which path a base model takes, by the family that its configuration names. No torch."""

from typing import Any, Literal

Path = Literal["fast", "generic"]
# Families whose layers do more than attend to keys and values, or attend in code of their own. `make families` shows
# which path each family passes the checks of.
GENERIC = frozenset({"bloom", "falcon", "mpt", "xglm", "qwen3_5_text", "mamba"})


def row_limit(config: Any) -> int | None:
    """Return how many tokens a row may have; None where a base model's configuration does not say.

    With positions scaled by ``longrope`` (2402.13753), a row longer than the original limit changes the rotary
    embeddings of all rows of its batch. So rows end at the original limit.

    Args:
        config: the configuration, as an object or as a dictionary.
    """
    get = config.get if isinstance(config, dict) else lambda name: getattr(config, name, None)
    limits = [get("max_position_embeddings")]
    for name in ("rope_parameters", "rope_scaling"):
        limits += _original_limits(get(name), whole=get("original_max_position_embeddings"))
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
