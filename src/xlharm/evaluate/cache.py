"""A key-value cache of fixed size, and the attention that decodes from it.

Every row has its own position. So prompts of different lengths share a batch, a finished row can take the next prompt,
and on a GPU the same captured graph is used for every step.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from xlharm.errors import UserError
from xlharm.model.base import settings
from xlharm.model.ragged import attend_capped, attention_scores, refuse_unknown

NAME = "xlharm_rows"


class RowCache:
    """Keys and values of R rows, each of which has its own position.

    Args:
        model: the base model. Its attention layers hold their parts of the cache until ``close``.
        rows: R.
        length: largest number of positions of a row.
    """

    def __init__(self, model: nn.Module, *, rows: int, length: int) -> None:
        config, weight = settings(model), next(model.parameters())
        shape = (rows, _heads(config), length, _width(config))
        self._layers = [m for m in model.modules() if hasattr(m, "layer_idx")]
        for layer in self._layers:
            layer.row_keys, layer.row_values = (
                torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(2)
            )
        self.length = length
        self.positions = torch.zeros(rows, dtype=torch.long, device=weight.device)
        self.filling: Tensor | None = None
        self._places = torch.arange(length, device=weight.device)

    def mask(self) -> Tensor:
        """Return [R, 1, 1, length]: True at the positions that a row's current token may attend to."""
        return (self._places <= self.positions[:, None])[:, None, None]

    def close(self) -> None:
        """Free the memory."""
        for layer in self._layers:
            del layer.row_keys, layer.row_values


def _heads(config: Any) -> int:
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def row_bytes(config: Any, *, length: int, dtype: torch.dtype) -> int:
    """Return the number of bytes of one row of a cache."""
    return 2 * int(config.num_hidden_layers) * _heads(config) * length * _width(config) * dtype.itemsize


def attention(  # noqa: PLR0917 - the order in which transformers passes them
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    *,
    cache: RowCache,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Store new keys and values, and compute attention: within prompts, or from one token of each row to the cache.

    Grouped keys and values are read from the cache once. The attention of torch over a cache of fixed size would first
    copy a group's keys and values for each of its query heads.

    Args:
        module: the attention layer.
        query: [rows, heads, tokens, width] of prompts, or [K, heads, R / K, width]: one token of each of R rows, with
            the rows of an adapter side by side.
        key: like ``query``, with the key-value heads.
        value: like ``key``.
        attention_mask: None while prompts are filled in; else [R, 1, 1, length], True where a token may attend.
        scaling: factor on the scores; None is 1 / √width.
        cache: holds the indices of the rows to fill, or the position of each row.
        sliding_window: number of tokens that a token may attend to; None for no limit.
        softcap: bound of the scores; None for no bound.
        others: further arguments of transformers; those that would change the result are refused.

    Returns:
        [rows, tokens, heads, width], or [K, R / K, heads, width], and no weights.

    Raises:
        UserError: the window is shorter than the cache, or the attention is not plain causal attention.
    """
    refuse_unknown(module, length=cache.length, others=others)
    if sliding_window is not None and sliding_window < cache.length:
        raise UserError(f"base: generation does not support its sliding window of {sliding_window} tokens yet")
    keys: Any = module.row_keys
    values: Any = module.row_values
    if attention_mask is None:
        # A shorter prompt leaves padding behind its end. Decoding overwrites it before it is read.
        keys[cache.filling, :, : key.shape[2]] = key
        values[cache.filling, :, : key.shape[2]] = value
        if softcap is not None:
            out = attend_capped(query, key, value, scaling=scaling, softcap=softcap)
        else:
            out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2), None
    _write(keys, values, *(x.transpose(1, 2).flatten(0, 1) for x in (key, value)), cache.positions)
    slots, heads, each, width = query.shape
    grouped = query.transpose(1, 2).reshape(slots * each, key.shape[1], heads // key.shape[1], width)
    scores = attention_scores(grouped, keys, scaling or width**-0.5, softcap=softcap)
    weights = scores.masked_fill(~attention_mask, float("-inf")).softmax(-1).to(query.dtype)
    return torch.matmul(weights, values).view(slots, each, heads, width), None


@torch.library.custom_op("xlharm::write_row_cache", mutates_args=("keys", "values"))
def _write(keys: Tensor, values: Tensor, key: Tensor, value: Tensor, positions: Tensor) -> None:
    """Store one token of each row. A custom operator, because compiled plain indexing would copy the whole cache."""
    rows = torch.arange(len(positions), device=positions.device)
    keys[rows, :, positions] = key
    values[rows, :, positions] = value
