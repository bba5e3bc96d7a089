"""A key-value cache of fixed size, and the attention that decodes from it.

Every row has its own position. So prompts of different lengths share a batch, a finished row can take the next prompt,
and on a GPU the same captured graph is used for every step.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.model.attention import (
    attend_within,
    attending,
    attention_scores,
    current,
    own_values,
    refuse_unknown,
    scaled_by_place,
    weights_of,
)
from xlharm.model.base import decoder

NAME = "xlharm_rows"


@dataclass(frozen=True)
class LayerWidths:
    """The shape of an attention layer's keys and values. It may differ from layer to layer (Gemma 4, DeepSeek V3).

    Attributes:
        module: the attention layer.
        heads: key-value heads.
        key: width of a key.
        value: width of a value.
    """

    module: nn.Module
    heads: int
    key: int
    value: int


@torch.no_grad()
def layer_widths(model: nn.Module, *, slots: int) -> tuple[LayerWidths, ...]:
    """Run one token for each adapter through the base model; return the widths of each attention layer that it calls.

    Args:
        model: the base model.
        slots: number of adapters, which hooks of probes go by.
    """
    seen: dict[nn.Module, LayerWidths] = {}

    def record(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Any:
        seen[module] = LayerWidths(module, key.shape[1], key.shape[3], value.shape[3])
        return own_values(module, query, key, value)

    ids = torch.zeros(slots, 1, dtype=torch.long, device=next(model.parameters()).device)
    with attending(model, "xlharm_widths", record, rows=None), torch.compiler.set_stance("force_eager"):
        decoder(model)(input_ids=ids, position_ids=ids, use_cache=False)
    return tuple(seen.values())


def row_bytes(layers: Iterable[LayerWidths], *, length: int, dtype: torch.dtype) -> int:
    """Return the number of bytes of one row of a cache."""
    return sum(layer.heads * (layer.key + layer.value) for layer in layers) * length * dtype.itemsize


class RowCache:
    """Keys and values of R rows, each of which has its own position.

    Args:
        layers: the attention layers of the base model. They hold their parts of the cache until ``close``.
        rows: R.
        length: largest number of positions of a row.
        like: a tensor of the base model's precision and device.

    Attributes:
        positions: [R]; the position of each row's current token.
        filling: indices of the rows that prompts are filled into; None while tokens are decoded.
        allowed: [R, length]; True at the positions that a row's current token may attend to.
    """

    def __init__(self, layers: Iterable[LayerWidths], *, rows: int, length: int, like: Tensor) -> None:
        self._modules: list[Any] = []
        for layer in layers:
            module: Any = layer.module
            module.row_keys = like.new_zeros(rows, layer.heads, length, layer.key)
            module.row_values = like.new_zeros(rows, layer.heads, length, layer.value)
            self._modules.append(module)
        self.length = length
        self.positions = torch.zeros(rows, dtype=torch.long, device=like.device)
        self.filling: Tensor | None = None
        self.places = torch.arange(length, device=like.device)
        self.look_back()

    def look_back(self) -> None:
        """Set ``allowed`` to each row's current token and all tokens before it."""
        self.allowed = self.places <= self.positions[:, None]

    def close(self) -> None:
        """Free the memory."""
        for module in self._modules:
            del module.row_keys, module.row_values


def attention(  # noqa: PLR0917 - the order in which transformers passes them
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    *,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
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
        attention_mask: None; transformers makes no mask for an attention function of ours.
        scaling: factor on the scores; None is 1 / √width.
        sliding_window: number of tokens that a token may attend to; None for no limit.
        softcap: bound of the scores; None for no bound.
        s_aux: [heads], attention sinks; see ``attend``.
        others: further arguments of transformers; those that would change the result are refused.

    Returns:
        [rows, tokens, heads, width], or [K, R / K, heads, width], and no weights.

    Raises:
        UserError: the attention is not plain causal attention.
    """
    cache: RowCache = current.rows
    refuse_unknown(module, length=cache.length, others={**others, "attention_mask": attention_mask})
    keys: Any = module.row_keys
    values: Any = module.row_values
    if cache.filling is not None:
        # A shorter prompt leaves padding behind its end. Decoding overwrites it before it is read.
        keys[cache.filling, :, : key.shape[2]] = key
        values[cache.filling, :, : key.shape[2]] = value
        out = attend_within(query, key, value, scaling=scaling, window=sliding_window, softcap=softcap, sinks=s_aux)
        return out.transpose(1, 2), None
    slots, heads, each, width = query.shape
    query = scaled_by_place(module, query, cache.positions.view(slots, each))
    _write(keys, values, *(x.transpose(1, 2).flatten(0, 1) for x in (key, value)), cache.positions)
    grouped = query.transpose(1, 2).reshape(slots * each, key.shape[1], heads // key.shape[1], width)
    scores = attention_scores(grouped, keys, scaling or width**-0.5, softcap=softcap)
    allowed = cache.allowed
    if sliding_window is not None and sliding_window < cache.length:
        allowed = allowed & (cache.places > cache.positions[:, None] - sliding_window)
    column = None if s_aux is None else s_aux.view(key.shape[1], -1, 1)
    weights = weights_of(scores, allowed=allowed[:, None, None], sinks=column).to(query.dtype)
    return torch.matmul(weights, values).view(slots, each, heads, value.shape[-1]), None


@torch.library.custom_op("xlharm::write_row_cache", mutates_args=("keys", "values"))
def _write(keys: Tensor, values: Tensor, key: Tensor, value: Tensor, positions: Tensor) -> None:
    """Store one token of each row. A custom operator, because compiled plain indexing would copy the whole cache."""
    rows = torch.arange(len(positions), device=positions.device)
    keys[rows, :, positions] = key
    values[rows, :, positions] = value
