"""Rows of different lengths concatenated to one sequence, so that only attention computes padding.

In a batch that is padded to its longest row, a third of the work is padding. Here the rows are concatenated and the
base model's layers get one sequence of T tokens. Only attention spreads them to padded rows, and then gathers them
again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.model.attention import attend_within, attending, current, refuse_unknown, scaled_by_place
from xlharm.model.base import decoder, last_hidden
from xlharm.model.grouped import moved

NAME = "xlharm_ragged"
ALIGNED = 8  # tokens; grouped products need groups that begin at a multiple of 16 bytes in bfloat16
_LENGTHS = 64  # tokens; in steady shapes the padded length of rows is a multiple of this


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """K groups of rows, concatenated to one sequence of T tokens.

    Padding repeats a token of the rows: the embedding of a padding token may be zero, and its gradients not a number.

    Attributes:
        ids: [1, T]. Each group's rows are followed by the padding that aligns the next group. If all groups are equally
            long, the shape is [K, T / K], so that compiled code need not divide sizes.
        positions: like ``ids``; each token's position in its row.
        starts: index at which each group begins.
        ends: [K] int32, index at which each group ends; None if all groups are equally long.
        spread: [R, L], index in the sequence of each position of each row; None if all rows are equally long.
        real: [R, L], whether the row has that position; None without ``spread``.
        gather: [T], index of each token in the flattened padded rows; None without ``spread``.
        lengths: [R], tokens of each row. Compiled code takes R from its shape, because a number would be a constant.
        rows: R, number of rows.
        padded: whether the base model gets the padded rows [R, L], with equally many rows of each group, instead of the
            sequence.
        sources: [R, S], ids of the padded rows of an encoder; None if there is no encoder.
        source_lengths: [R], tokens of each of these rows; None without ``sources``.
    """

    ids: Tensor
    positions: Tensor
    starts: tuple[int, ...]
    ends: Tensor | None
    spread: Tensor | None
    real: Tensor | None
    gather: Tensor | None
    lengths: Tensor
    rows: int
    padded: bool = False
    sources: Tensor | None = None
    source_lengths: Tensor | None = None

    @staticmethod
    def of(groups: Sequence[Sequence[Sequence[int]]], *, uneven: bool = True, steady: int | None = None) -> "Ragged":
        """Concatenate the rows of K groups.

        Args:
            groups: for each group the ids of its rows; no group and no row is empty.
            uneven: whether groups may differ in length; else all groups are padded to the longest.
            steady: number of tokens of the longest row of all steps, if groups may be uneven. Groups with equally many
                rows and similar numbers of tokens then get the same shape, with up to an eighth more tokens. None
                adds as little padding as possible.

        Padding follows a group's last row or forms rows of its own, so no token attends to it.
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
            ids += [rows[0][0]] * filled
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
            lengths=long,
            rows=len(lengths),
        )

    @staticmethod
    def padded_rows(
        groups: Sequence[Sequence[Sequence[int]]], *, sources: Sequence[Sequence[Sequence[int]]] | None = None
    ) -> "Ragged":
        """Pad rows on the right, and groups of fewer rows with a first row of theirs, for models that need whole rows.

        Args:
            groups: for each group the ids of its rows; no group and no row is empty.
            sources: for each group the ids of its rows for an encoder; no row is empty.
        """
        most = max(map(len, groups))
        sizes = [sum(map(len, rows)) for rows in groups]
        firsts = [sum(sizes[:k]) for k in range(len(sizes))]
        starts, lengths, real = [], [], []
        for rows, at in zip(groups, firsts, strict=True):
            own = [len(row) for row in rows]
            starts += [*(at + sum(own[:i]) for i in range(len(own))), *[at] * (most - len(own))]
            lengths += own + own[:1] * (most - len(own))
            real += own + [0] * (most - len(own))
        places = torch.arange(max(lengths))
        long = torch.tensor(lengths)[:, None]
        is_real = places < torch.tensor(real)[:, None]
        return Ragged(
            ids=torch.tensor([[i for rows in groups for row in rows for i in row]]),
            positions=places.expand_as(is_real)[is_real][None],
            starts=tuple(firsts),
            ends=None,
            spread=torch.tensor(starts)[:, None] + torch.minimum(places, long - 1),
            real=is_real,
            gather=is_real.flatten().nonzero().flatten(),
            lengths=torch.tensor(lengths),
            rows=len(lengths),
            padded=True,
            **({} if sources is None else _padded_sources(sources)),
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
        return Ragged.of([[(0,) * n for n in lengths] for lengths in groups])

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
        tensors: dict[str, Any] = {n: on_device(x, device) for n, x in self.tensors().items()}
        return replace(self, **tensors)

    def apart(self, x: Tensor) -> Tensor:
        """Spread a sequence [1, heads, T, width], or [K, heads, T / K, width], to padded rows [R, heads, L, width]."""
        tokens = x.transpose(1, 2).flatten(0, 1)
        if self.spread is None or self.gather is None:
            return tokens.reshape(self.lengths.shape[0], -1, *tokens.shape[1:]).transpose(1, 2)
        rows = moved(tokens, self.spread.flatten(), self.gather)
        return rows.view(*self.spread.shape, *tokens.shape[1:]).transpose(1, 2)

    def together(self, x: Tensor) -> Tensor:
        """Gather padded rows [R, heads, L, width] to the sequence [1, T, heads, width], or [K, T / K, heads, width]."""
        places = x.transpose(1, 2).flatten(0, 1)
        if self.spread is None or self.gather is None or self.real is None:
            return places.view(*self.ids.shape, *places.shape[1:])
        back = self.spread.flatten(), self.real.flatten()
        return moved(places, self.gather, *back).view(*self.ids.shape, *places.shape[1:])

    def sequence(self, states: Tensor) -> Tensor:
        """Return a layer's output, of the shape that the base model gave it, as one sequence [T, width]."""
        states = states.flatten(0, 1)
        if not self.padded:
            return states
        assert self.spread is not None
        assert self.gather is not None
        assert self.real is not None
        back = self.spread.flatten(), self.real.flatten()
        return moved(states, self.gather, *back)


def _padded_sources(groups: Sequence[Sequence[Sequence[int]]]) -> dict[str, Tensor]:
    """Pad an encoder's rows with their last token, and groups of fewer rows with a first row of theirs."""
    most = max(map(len, groups))
    rows = [row for group in groups for row in (*group, *[group[0]] * (most - len(group)))]
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in rows])
    return {"sources": ids, "source_lengths": lengths}


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device without waiting for the device's earlier work."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


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
    """Compute causal attention within each of the rows of ``current``.

    Args:
        module: the attention layer.
        query: [1, heads, T, width], or [K, heads, T / K, width].
        key: [1, key-value heads, T, width], or like the query.
        value: like ``key``.
        attention_mask: None; transformers makes no mask for an attention function of ours.
        scaling: factor on the scores.
        sliding_window: number of tokens that a token may attend to, itself included; None for no limit.
        softcap: bound of the scores; see ``attend``.
        s_aux: [heads], attention sinks; see ``attend``.
        others: further arguments of transformers; those that would change the result are refused.

    Returns:
        [1, T, heads, width], or [K, T / K, heads, width], and no weights.

    Raises:
        UserError: the attention is not plain causal attention; see ``refuse_unknown``.
    """
    ragged: Ragged = current.rows
    query = scaled_by_place(module, query, ragged.positions)
    q, k, v = (ragged.apart(x) for x in (query, key, value))
    refuse_unknown(module, length=q.shape[2], others={**others, "attention_mask": attention_mask})
    out = attend_within(q, k, v, scaling=scaling, window=sliding_window, softcap=softcap, sinks=s_aux)
    return ragged.together(out), None


def last_states(model: nn.Module, ragged: Ragged) -> Tensor:
    """Return the last hidden states [T, width] of the concatenated rows."""
    if ragged.padded:
        assert ragged.spread is not None
        rows, sources, lengths = ragged.ids.flatten()[ragged.spread], ragged.sources, ragged.source_lengths
        known = None if sources is None or lengths is None else _real(sources, lengths)
        states = last_hidden(model, rows, real=_real(rows, ragged.lengths), sources=sources, sources_real=known)
        return ragged.sequence(states)
    with attending(model, NAME, attention, rows=ragged):
        output = decoder(model)(input_ids=ragged.ids, position_ids=ragged.positions, use_cache=False)
    return ragged.sequence(output.last_hidden_state)


def _real(rows: Tensor, lengths: Tensor) -> Tensor:
    """Return 1 at the tokens and 0 at the padding of rows [R, L] of some lengths [R]."""
    return (torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]).long()
