"""Rows of different lengths concatenated to one sequence, so that only attention computes padding.

In a batch that is padded to its longest row, a third of the work is padding. Here the rows are concatenated and the
base model's layers get one sequence of T tokens. Only attention spreads them to padded rows, and then gathers them
again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from xlharm.errors import UserError
from xlharm.model.base import decoder, settings

NAME = "xlharm_ragged"
ALIGNED = 8  # tokens; grouped products need groups that begin at a multiple of 16 bytes in bfloat16
UNSUPPORTED = (TypeError, ValueError, KeyError, IndexError, AttributeError)  # errors of a base model of an unknown kind
_LENGTHS = 64  # tokens; in steady shapes the padded length of rows is a multiple of this


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """K groups of rows, concatenated to one sequence of T tokens.

    Attributes:
        ids: [1, T]. Each group's rows are followed by the padding that aligns the next group. If all groups are equally
            long, the shape is [K, T / K], so that compiled code need not divide sizes.
        positions: like ``ids``; each token's position in its row.
        starts: index at which each group begins.
        ends: [K] int32, index at which each group ends; None if all groups are equally long.
        spread: [R, L], index in the sequence of each position of each row; None if all rows are equally long.
        real: [R, L], whether the row has that position; None without ``spread``.
        gather: [T], index of each token in the flattened padded rows; None without ``spread``.
        rows: R, number of rows.
    """

    ids: Tensor
    positions: Tensor
    starts: tuple[int, ...]
    ends: Tensor | None
    spread: Tensor | None
    real: Tensor | None
    gather: Tensor | None
    rows: int

    @staticmethod
    def of(
        groups: Sequence[Sequence[Sequence[int]]], *, pad: int, uneven: bool = True, steady: int | None = None
    ) -> "Ragged":
        """Concatenate the rows of K groups.

        Args:
            groups: for each group the ids of its rows; no group and no row is empty.
            pad: id of padding. Padding follows a group's last row or forms rows of its own, so no token attends to it.
            uneven: whether groups may differ in length; else all groups are padded to the longest.
            steady: number of tokens of the longest row of all steps, if groups may be uneven. Groups with equally many
                rows and similar numbers of tokens then get the same shape, with up to an eighth more tokens. None
                adds as little padding as possible.
        """
        sizes = [-(-sum(map(len, rows)) // ALIGNED) * ALIGNED for rows in groups]
        sizes = sizes if uneven else [max(sizes)] * len(sizes)
        longest = max(len(row) for rows in groups for row in rows)
        most, spare = longest, 0
        if steady is not None:
            longest = steady
            most = -(-(steady + ALIGNED) // _LENGTHS) * _LENGTHS
            granule = max(ALIGNED, 1 << (sum(sizes).bit_length() - 4))
            spare = -(-granule // most)
            sizes[-1] += -sum(sizes) % granule
        lengths: list[int] = []
        ids: list[int] = []
        for rows, size in zip(groups, sizes, strict=True):
            filled = size - sum(map(len, rows))
            for row in rows:
                ids += row
            ids += [pad] * filled
            behind = min(filled, most - len(rows[-1]))
            lengths += [*map(len, rows[:-1]), len(rows[-1]) + behind]
            lengths += [min(most, filled - at) for at in range(behind, filled, most)]
        if steady is not None:
            lengths += [0] * (sum(map(len, groups)) + spare - len(lengths))
        long = torch.tensor(lengths)
        places = torch.arange(max(lengths) if steady is None else most)
        real = places < long[:, None]
        starts = (long.cumsum(0) - long).clamp(max=len(ids) - 1)
        within = places.expand_as(real)[real]  # row by row: each token's position in its row
        even = steady is None and bool(real.all())
        level = len(sizes) == 1 if steady is not None else len(set(sizes)) == 1
        sides = len(sizes) if level else 1
        return Ragged(
            ids=torch.tensor(ids).view(sides, -1),
            # Padding gets no position beyond the longest row's: it may not exist, or change the rotary embeddings.
            positions=within.clamp(max=longest - 1).view(sides, -1),
            starts=tuple(sum(sizes[:k]) for k in range(len(sizes))),
            ends=None if level else torch.tensor(sizes).cumsum(0).int(),
            spread=None if even else starts[:, None] + torch.minimum(places, (long[:, None] - 1).clamp(min=0)),
            real=None if even else real,
            gather=None if even else real.flatten().nonzero().flatten(),
            rows=len(lengths),
        )

    @property
    def kind(self) -> tuple[bool, ...]:
        """Return what compiled code depends on: (one group, one row per group, equal rows, equal groups)."""
        groups = len(self.starts)
        return groups == 1, self.rows == groups, self.spread is None, self.ends is None

    def example(self) -> "Ragged":
        """Return the example of this kind that code is compiled with, on the CPU."""
        lone_group, lone_rows, one_length, even = self.kind
        longest = 512 if lone_rows else 128  # tokens; a multiple of 64, as in steady shapes
        counts = [1 if lone_rows else 5] if lone_group else [1, 1] if lone_rows else [3, 3 if even else 2]
        groups = [[longest] * count for count in counts]
        for lengths in groups if even else groups[:1]:
            lengths[0] -= 0 if one_length else ALIGNED
        return Ragged.of([[(0,) * n for n in lengths] for lengths in groups], pad=0)

    @property
    def shape(self) -> tuple[int, int, int, bool]:
        """Sizes of the inputs of products and attention: (tokens, rows, padded row length or 0, uneven groups)."""
        places = 0 if self.spread is None else self.spread.shape[1]
        return self.ids.numel(), self.rows, places, self.ends is not None

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name; objects of one shape differ only in their values."""
        return {n: x for n, x in vars(self).items() if isinstance(x, Tensor)}

    def to(self, device: torch.device) -> "Ragged":
        """Copy to a device without waiting for the device's earlier work."""
        moved: dict[str, Any] = {n: on_device(x, device) for n, x in self.tensors().items()}
        return replace(self, **moved)

    def apart(self, x: Tensor) -> Tensor:
        """Spread a sequence [1, heads, T, width], or [K, heads, T / K, width], to padded rows [R, heads, L, width]."""
        tokens = x.transpose(1, 2).flatten(0, 1)
        if self.spread is None or self.gather is None:
            return tokens.reshape(self.rows, -1, *tokens.shape[1:]).transpose(1, 2)
        rows: Tensor = _Move.apply(tokens, self.spread.flatten(), self.gather, None)  # type: ignore[no-untyped-call] # autograd has no types
        return rows.view(*self.spread.shape, *tokens.shape[1:]).transpose(1, 2)

    def together(self, x: Tensor) -> Tensor:
        """Gather padded rows [R, heads, L, width] to the sequence [1, T, heads, width], or [K, T / K, heads, width]."""
        places = x.transpose(1, 2).flatten(0, 1)
        if self.spread is None or self.gather is None or self.real is None:
            return places.view(*self.ids.shape, *places.shape[1:])
        back = self.spread.flatten(), self.real.flatten()
        moved: Tensor = _Move.apply(places, self.gather, *back)  # type: ignore[no-untyped-call] # autograd has no types
        return moved.view(*self.ids.shape, *moved.shape[1:])


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device without waiting for the device's earlier work."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class _Move(torch.autograd.Function):
    """Select rows by index, [N, …] → [M, …]; the gradient is selected by index, too.

    Autograd would scatter and add the gradient, which is slower. ``back`` holds the index in the result of each input
    row; ``real`` is False for input rows that were not selected, whose gradient is zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: Tensor, back: Tensor, real: Tensor | None) -> Tensor:
        ctx.save_for_backward(back, real)
        return x.index_select(0, forth)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        back, real = ctx.saved_tensors
        of_x = grads[0].index_select(0, back)
        return of_x if real is None else of_x * real.view(-1, *[1] * (of_x.dim() - 1)), None, None, None


def attention(  # noqa: PLR0917 - the order in which transformers passes them
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    *,
    ragged: Ragged,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention within each row.

    Args:
        module: the attention layer.
        query: [1, heads, T, width], or [K, heads, T / K, width].
        key: [1, key-value heads, T, width], or like the query.
        value: like ``key``.
        attention_mask: None; transformers makes no mask for an attention function of ours.
        scaling: factor on the scores.
        ragged: the layout of the rows.
        sliding_window: number of tokens that a token may attend to, itself included; None for no limit.
        softcap: bound of the scores; see ``attend_capped``.
        others: further arguments of transformers; those that would change the result are refused.

    Returns:
        [1, T, heads, width], or [K, T / K, heads, width], and no weights.

    Raises:
        UserError: the attention is not plain causal attention; see ``refuse_unknown``.
    """
    q, k, v = (ragged.apart(x) for x in (query, key, value))
    length = q.shape[2]
    refuse_unknown(module, length=length, others={**others, "attention_mask": attention_mask})
    window = None
    if sliding_window is not None and sliding_window < length:
        window = torch.ones(length, length, dtype=torch.bool, device=q.device).tril().triu(1 - sliding_window)
        # With a mask and grouped keys, CUDA would use the kernel that holds all scores in memory.
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    if softcap is not None:
        return ragged.together(attend_capped(q, k, v, scaling=scaling, softcap=softcap, window=window)), None
    grouped = q.shape[1] != k.shape[1]
    out = scaled_dot_product_attention(
        q, k, v, attn_mask=window, is_causal=window is None, scale=scaling, enable_gqa=grouped
    )
    return ragged.together(out), None


def attend_capped(
    query: Tensor, key: Tensor, value: Tensor, *, scaling: float | None, softcap: float, window: Tensor | None = None
) -> Tensor:
    """Compute causal attention with scores bounded to ± ``softcap`` (Gemma 2, 2408.00118), all scores in memory.

    Args:
        query: [rows, heads, tokens, width].
        key: [rows, key-value heads, tokens, width].
        value: like ``key``.
        scaling: factor on the scores; None is 1 / √width.
        softcap: bound of the scores.
        window: [tokens, tokens], True where a token may attend; None is itself and all tokens before it.

    Returns:
        [rows, heads, tokens, width].
    """
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    if window is None:
        window = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    scores = attention_scores(query, key, scaling or query.shape[-1] ** -0.5, softcap=softcap)
    return torch.matmul(scores.masked_fill(~window, float("-inf")).softmax(-1).to(query.dtype), value)


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


@contextmanager
def attending(model: nn.Module, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Make the base model use ``function`` as its attention, registered as ``name``, within a ``with`` block."""
    from transformers import AttentionInterface

    AttentionInterface.register(name, function)
    config = settings(model)
    before = config._attn_implementation  # noqa: SLF001 - transformers has no public way back
    config._attn_implementation = name  # noqa: SLF001 - likewise
    try:
        yield
    finally:
        config._attn_implementation = before  # noqa: SLF001 - likewise


def last_states(model: nn.Module, ragged: Ragged) -> Tensor:
    """Return the last hidden states [T, width] of concatenated rows."""
    with attending(model, NAME, attention):
        output = decoder(model)(input_ids=ragged.ids, position_ids=ragged.positions, use_cache=False, ragged=ragged)
    return output.last_hidden_state.flatten(0, 1)  # type: ignore[no-any-return] # transformers is not followed


@torch.no_grad()
def check_ragged(model: nn.Module, *, longest: int, device: torch.device) -> None:
    """Check that concatenated rows give the same hidden states as each row alone.

    A base model of an unknown kind may mix tokens outside of its attention.

    Args:
        model: the base model.
        longest: number of tokens of the longest row that will be trained, so that attention windows are covered.
        device: device of the model's inputs.

    Raises:
        UserError: the hidden states differ, so rows would affect each other, or the base model cannot run this way.
    """
    vocabulary = int(settings(model).vocab_size)
    rows = [tuple((7 * i + 3 * n) % vocabulary for i in range(n)) for n in (5, 9, max(2, longest))]

    limit = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.1  # products of other shapes round otherwise
    with torch.compiler.set_stance("force_eager"):
        try:
            states = last_states(model, Ragged.of([rows], pad=0).to(device)).float()
        except UNSUPPORTED as error:
            raise UserError(f"base: {type(model).__name__} cannot run concatenated rows: {error}") from None
        at = 0
        for row in rows:
            ids = torch.tensor([row], device=device)
            alone = decoder(model)(input_ids=ids, use_cache=False).last_hidden_state[0].float()
            apart = float((states[at : at + len(row)] - alone).norm() / alone.norm())
            if not apart <= limit:
                raise UserError(
                    f"base: hidden states of concatenated rows differ from those of each row alone by {apart:.1%}: "
                    f"{type(model).__name__} mixes tokens of different rows"
                )
            at += len(row)
