"""Attention as the base's layers call it: scores in float32, caps, windows, sinks, and how a function of ours is used.

The layers of a base get no argument of ours. The rows or the cache of the running forward pass are in ``current``,
because many families do not pass on what their decoder was called with.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from xlharm.errors import UserError
from xlharm.model.base import settings


class Current:
    """What the attention function of the running forward pass reads: rows, or a cache."""

    rows: Any = None


current = Current()


@contextmanager
def attending(model: nn.Module, name: str, function: Callable[..., Any], *, rows: Any) -> Iterator[None]:
    """Make the base model use ``function`` as its attention within a ``with`` block.

    Args:
        model: the base model.
        name: name to register the function as.
        function: called with the arguments of transformers' attention functions.
        rows: what the function finds in ``current.rows``.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(name, function)
    config = settings(model)
    before, outer = config._attn_implementation, current.rows  # noqa: SLF001 - transformers has no public way back
    config._attn_implementation, current.rows = name, rows  # noqa: SLF001 - likewise
    try:
        yield
    finally:
        config._attn_implementation, current.rows = before, outer  # noqa: SLF001 - likewise


def own_values(_module: nn.Module, query: Tensor, _key: Tensor, value: Tensor, *_: Any, **__: Any) -> Any:
    """Return each token's own value: with this as attention, no token depends on another."""
    return value.repeat_interleave(query.shape[1] // value.shape[1], dim=1).transpose(1, 2).contiguous(), None


def attend_within(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Compute causal attention within rows, by torch's fused kernels where they can.

    Args:
        query: [rows, heads, tokens, width].
        key: [rows, key-value heads, tokens, width].
        value: [rows, key-value heads, tokens, width of values].
        scaling: factor on the scores; None is 1 / √width.
        window: number of tokens that a token may attend to, itself included; None for no limit.
        softcap: see ``attend``.
        sinks: see ``attend``.

    Returns:
        [rows, heads, tokens, width of values].
    """
    length, mask = query.shape[2], None
    if window is not None and window < length:
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)
        # With a mask and grouped keys, CUDA would use the kernel that holds all scores in memory.
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    if softcap is not None or sinks is not None:
        return attend(query, key, value, scaling=scaling, softcap=softcap, sinks=sinks, window=mask)
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
    )


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float | None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    window: Tensor | None = None,
) -> Tensor:
    """Compute causal attention with all scores in memory, for what no fused kernel does: capped scores and sinks.

    Args:
        query: [rows, heads, tokens, width].
        key: [rows, key-value heads, tokens, width].
        value: [rows, key-value heads, tokens, width of values].
        scaling: factor on the scores; None is 1 / √width.
        softcap: bound of the scores (Gemma 2, 2408.00118); None for none.
        sinks: [heads]; see ``weights_of``.
        window: [tokens, tokens], True where a token may attend; None is itself and all tokens before it.

    Returns:
        [rows, heads, tokens, width of values].
    """
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    if window is None:
        window = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    scores = attention_scores(query, key, scaling or query.shape[-1] ** -0.5, softcap=softcap)
    column = None if sinks is None else sinks.view(-1, 1, 1)
    return torch.matmul(weights_of(scores, allowed=window, sinks=column).to(query.dtype), value)


def weights_of(scores: Tensor, *, allowed: Tensor, sinks: Tensor | None) -> Tensor:
    """Return the softmax of scores over the positions that are allowed.

    Args:
        scores: [..., positions], float32.
        allowed: broadcast to ``scores``; True where a token may attend.
        sinks: broadcast to ``scores[..., :1]``: the score of one more column, which takes weight and has no value
            (GPT-OSS, 2508.10925); None for none.
    """
    scores = scores.masked_fill(~allowed, float("-inf"))
    if sinks is None:
        return scores.softmax(-1)
    column = sinks.float().expand(*scores.shape[:-1], 1)
    return torch.cat([scores, column], dim=-1).softmax(-1)[..., :-1]


def attention_scores(query: Tensor, key: Tensor, scaling: float, *, softcap: float | None) -> Tensor:
    """Return attention scores in float32: products of queries and keys times ``scaling``, within ± ``softcap``.

    In bfloat16 the products are added up in float32 and stay in it, as in torch's own kernels. Rounded to bfloat16
    before softmax, the weights of normal inputs scaled by 3 are off by up to 0.04.

    Args:
        query: [..., tokens, width].
        key: [..., positions, width], with the same leading dimensions.
        scaling: factor on the products.
        softcap: bound of the scores, with tanh; None for bases without one.

    Returns:
        [..., tokens, positions], float32.
    """
    products: Tensor = _Products.apply(query, key)  # type: ignore[no-untyped-call] # torch does not type it
    scores = products * scaling
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


class _Products(torch.autograd.Function):
    """query @ keyᵀ in float32; its gradients are products in the inputs' own precision, as those of torch's kernels."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor) -> Tensor:
        ctx.save_for_backward(query, key)
        if query.dtype == torch.float32:
            return torch.matmul(query, key.transpose(-1, -2))
        if query.device.type != "cuda":  # no product of the CPU takes bfloat16 and returns float32
            return torch.matmul(query.float(), key.float().transpose(-1, -2))
        sizes = (*query.shape[:-1], key.shape[-2])
        flat = query.flatten(0, -3), key.flatten(0, -3).transpose(-1, -2)
        return torch.bmm(*flat, out_dtype=torch.float32).view(sizes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        query, key = ctx.saved_tensors
        grad = grads[0].to(query.dtype)
        return torch.matmul(grad, key), torch.matmul(grad.transpose(-1, -2), query)


_HARMLESS = {"dropout", "position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states",
             "return_dict", "logits_to_keep", "past_key_values", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q",
             "max_length_k"}  # fmt: skip


def scaled_by_place(module: Any, query: Tensor, positions: Tensor) -> Tensor:
    """Correct queries that a layer scaled by their index in the sequence: to the scale of their place in their row.

    Llama 4 scales the queries of layers without rotary embeddings by 1 + c · ln(1 + ⌊(place + 1) / floor⌋)
    (2501.19399). It counts places from the beginning of the sequence that it is given.

    Args:
        module: the attention layer.
        query: [1, heads, T, width], or [K, heads, T / K, width].
        positions: [1, T], or [K, T / K]; each token's place in its row.
    """
    if not getattr(module, "attn_temperature_tuning", None) or getattr(module, "use_rope", True):
        return query

    def scale(places: Tensor) -> Tensor:
        return torch.log1p(torch.floor((places.float() + 1.0) / module.floor_scale)) * module.attn_scale + 1.0

    index = torch.arange(positions.shape[1], device=positions.device)[None]
    return query * (scale(positions) / scale(index)).to(query.dtype)[:, None, :, None]


def refuse_unknown(module: Any, *, length: int, others: dict[str, Any]) -> None:
    """Refuse attention that is not plain causal attention.

    Args:
        module: the attention layer.
        length: number of tokens of the longest row.
        others: further arguments that transformers passes to the attention function.

    Raises:
        UserError: an argument may change the result (attention sinks, position biases, selected keys, …), or the layer
            attends within chunks shorter than ``length``.
    """
    unknown = [n for n, x in others.items() if n not in _HARMLESS and x is not None and not (n == "is_causal" and x)]
    chunk = getattr(getattr(module, "config", None), "attention_chunk_size", None)
    if chunk is not None and chunk < length:
        unknown.append(f"chunks of {chunk} tokens")
    if unknown:
        raise UserError(f"base: its attention uses {unknown[0]}, which xlharm does not support yet")
