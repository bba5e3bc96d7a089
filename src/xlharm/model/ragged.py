"""Rows of many lengths in one sequence: only the attention sees them apart, so nothing else computes padding.

A batch padded to its longest row spends a third of its work on nothing. Here rows lie one after another, the base's
layers see one sequence of T tokens, and where tokens look at each other the rows are spread out and gathered again.
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
ALIGNED = 8  # tokens; a group begins at a multiple of 16 bytes in bfloat16, as grouped products want it
STRANGE = (TypeError, ValueError, KeyError, IndexError, AttributeError)  # what a base of an unknown kind may end in
_LENGTHS = 64  # tokens; in steady shapes the rows' length is a multiple of this


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """K groups of rows, one after another, in one sequence of T tokens.

    Attributes:
        ids: [1, T]; what is added to a group, so that the next one is aligned, follows its rows. Groups that are all
            equally long lie side by side, [K, T / K]: a compiler then has no sizes to divide.
        positions: like ``ids``, each token's place in its row.
        starts: where each group begins.
        ends: [K] int32, where each group ends; None when all are equally long.
        spread: [R, L], where each place of each row lies in the sequence; None when all rows are equally long.
        real: [R, L], whether the row has that place; with ``spread``.
        gather: [T], where each token lies in the spread rows; with ``spread``.
        rows: R.
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
        """Lay out the ids of K groups of rows.

        Args:
            groups: for each group its rows' ids; none is empty.
            pad: id that aligns groups; it stands right of a group's rows, or in rows of its own, and reaches none.
            uneven: let groups differ in length; else all are as long as the longest.
            steady: tokens of the longest row that any step has, where groups may be uneven: as many rows with about
                as many tokens then get the same shape, for up to an eighth more tokens. None adds as few as it can.
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
        within = places.expand_as(real)[real]  # row by row: each token's place in its row
        even = steady is None and bool(real.all())
        level = len(sizes) == 1 if steady is not None else len(set(sizes)) == 1
        sides = len(sizes) if level else 1
        return Ragged(
            ids=torch.tensor(ids).view(sides, -1),
            # no position beyond the longest row's: it may not exist, or change a base's rotations
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
        """Say what compiled code is for: lone groups or rows, rows of one length, groups of one length."""
        groups = len(self.starts)
        return groups == 1, self.rows == groups, self.spread is None, self.ends is None

    def example(self) -> "Ragged":
        """Return rows of this kind that are the same for all of the kind, on the CPU."""
        lone_group, lone_rows, one_length, even = self.kind
        longest = 512 if lone_rows else 128  # tokens; a multiple of 64, as rows of steady shapes have
        counts = [1 if lone_rows else 5] if lone_group else [1, 1] if lone_rows else [3, 3 if even else 2]
        groups = [[longest] * count for count in counts]
        for lengths in groups if even else groups[:1]:
            lengths[0] -= 0 if one_length else ALIGNED
        return Ragged.of([[(0,) * n for n in lengths] for lengths in groups], pad=0)

    @property
    def shape(self) -> tuple[int, int, int, bool]:
        """What products and attention see: (tokens, rows, places of a row, whether groups are uneven)."""
        places = 0 if self.spread is None else self.spread.shape[1]
        return self.ids.numel(), self.rows, places, self.ends is not None

    def tensors(self) -> dict[str, Tensor]:
        """Return what differs between two of one shape."""
        return {n: x for n, x in vars(self).items() if isinstance(x, Tensor)}

    def to(self, device: torch.device) -> "Ragged":
        """Copy to a device without waiting for what it is doing."""
        moved: dict[str, Any] = {n: on_device(x, device) for n, x in self.tensors().items()}
        return replace(self, **moved)

    def apart(self, x: Tensor) -> Tensor:
        """Spread [1, heads, T, width], or [K, heads, T / K, width], to [R, heads, L, width]."""
        tokens = x.transpose(1, 2).flatten(0, 1)
        if self.spread is None or self.gather is None:
            return tokens.reshape(self.rows, -1, *tokens.shape[1:]).transpose(1, 2)
        found: Tensor = _Move.apply(tokens, self.spread.flatten(), self.gather, None)  # type: ignore[no-untyped-call] # autograd has no types
        return found.view(*self.spread.shape, *tokens.shape[1:]).transpose(1, 2)

    def together(self, x: Tensor) -> Tensor:
        """Gather [R, heads, L, width] to [1, T, heads, width], or [K, T / K, heads, width]."""
        places = x.transpose(1, 2).flatten(0, 1)
        if self.spread is None or self.gather is None or self.real is None:
            return places.view(*self.ids.shape, *places.shape[1:])
        back = self.spread.flatten(), self.real.flatten()
        found: Tensor = _Move.apply(places, self.gather, *back)  # type: ignore[no-untyped-call] # autograd has no types
        return found.view(*self.ids.shape, *found.shape[1:])


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to a device without waiting for what it is doing."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class _Move(torch.autograd.Function):
    """Pick [N, …] → [M, …] by index; the gradient is picked, too, where autograd would add up what it scatters.

    ``back`` says where each gradient comes from, and ``real`` which there are; the others are zero.
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
    """Attend within each row to what lies before.

    Args:
        module: the attention layer.
        query: [1, heads, T, width], or [K, heads, T / K, width].
        key: [1, key-value heads, T, width], or like the query.
        value: like ``key``.
        attention_mask: None: transformers makes none for an attention of ours.
        scaling: factor on the scores.
        ragged: the rows.
        sliding_window: how far back a token sees, in bases that limit it.
        softcap: see ``attend_capped``.
        others: what transformers passes on; whatever would change the result is refused.

    Returns:
        [1, T, heads, width], or [K, T / K, heads, width], and no weights.

    Raises:
        UserError: attention that is more than causal, see ``refuse_unknown``.
    """
    q, k, v = (ragged.apart(x) for x in (query, key, value))
    length = q.shape[2]
    refuse_unknown(module, length=length, others={**others, "attention_mask": attention_mask})
    window = None
    if sliding_window is not None and sliding_window < length:
        window = torch.ones(length, length, dtype=torch.bool, device=q.device).tril().triu(1 - sliding_window)
        # with a mask, grouped keys would send CUDA to the kernel that holds all scores
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
    """Attend causally with scores kept within ± ``softcap`` (Gemma 2, 2408.00118); all scores are held.

    Args:
        query: [rows, heads, tokens, width].
        key: [rows, key-value heads, tokens, width].
        value: like ``key``.
        scaling: factor on the scores.
        softcap: bound of the scores.
        window: [tokens, tokens], True where a token may look; None is at itself and all before.

    Returns:
        [rows, heads, tokens, width].
    """
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    if window is None:
        window = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    scores = capped(torch.matmul(query, key.transpose(-1, -2)), scaling or query.shape[-1] ** -0.5, softcap=softcap)
    return torch.matmul(scores.masked_fill(~window, float("-inf")).softmax(-1).to(query.dtype), value)


def capped(products: Tensor, scaling: float, *, softcap: float | None) -> Tensor:
    """Return attention's scores in float32: products of queries and keys, scaled and kept within ± ``softcap``."""
    scores = products.float() * scaling
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


_HARMLESS = {"dropout", "position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states",
             "return_dict", "logits_to_keep", "past_key_values", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q",
             "max_length_k"}  # fmt: skip


def refuse_unknown(module: Any, *, length: int, others: dict[str, Any]) -> None:
    """Refuse attention that is more than causal.

    Raises:
        UserError: something is passed that may change the result (sinks, position biases, chosen keys, …), or chunks
            shorter than ``length``.
    """
    unknown = [n for n, x in others.items() if n not in _HARMLESS and x is not None and not (n == "is_causal" and x)]
    chunk = getattr(getattr(module, "config", None), "attention_chunk_size", None)
    if chunk is not None and chunk < length:
        unknown.append(f"chunks of {chunk} tokens")
    if unknown:
        raise UserError(f"base: its attention has {unknown[0]}, which is not supported yet")


@contextmanager
def attending(model: nn.Module, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Let the base attend by a function of ours, called ``name``."""
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
    """Return the last hidden states [T, width] of a sequence of rows."""
    with attending(model, NAME, attention):
        told = decoder(model)(input_ids=ragged.ids, position_ids=ragged.positions, use_cache=False, ragged=ragged)
    return told.last_hidden_state.flatten(0, 1)  # type: ignore[no-any-return] # transformers is not followed


@torch.no_grad()
def check_ragged(model: nn.Module, *, longest: int, device: torch.device) -> None:
    """Compare rows that lie in one sequence with each on its own: a base may mix tokens in ways unknown here.

    Args:
        model: the base.
        longest: tokens of the longest row that will be trained: what a base does beyond a window counts, too.
        device: where its inputs lie.

    Raises:
        UserError: they differ, so what trials learn would leak between their rows, or the base cannot be run so.
    """
    vocabulary = int(settings(model).vocab_size)
    rows = [tuple((7 * i + 3 * n) % vocabulary for i in range(n)) for n in (5, 9, max(2, longest))]

    limit = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.1  # rounding in products of other shapes
    with torch.compiler.set_stance("force_eager"):
        try:
            states = last_states(model, Ragged.of([rows], pad=0).to(device)).float()
        except STRANGE as error:
            raise UserError(f"base: {type(model).__name__} does not take rows in one sequence: {error}") from None
        at = 0
        for row in rows:
            ids = torch.tensor([row], device=device)
            alone = decoder(model)(input_ids=ids, use_cache=False).last_hidden_state[0].float()
            apart = float((states[at : at + len(row)] - alone).norm() / alone.norm())
            if not apart <= limit:
                raise UserError(
                    f"base: rows that share a sequence differ from each alone by {apart:.1%}: "
                    f"{type(model).__name__} mixes tokens in a way that is not known here"
                )
            at += len(row)
