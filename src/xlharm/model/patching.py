"""Hidden states of one model put into another: log-probabilities of given answers under patched models."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xlharm.corpus.rows import Row
from xlharm.model.base import head, hidden_states, layers
from xlharm.model.lora import StackedModel
from xlharm.model.ragged import Ragged, last_states

Positions = Literal["answer", "all"]
"""Where states are replaced: at the positions that predict the tokens of the answer, or at all positions."""


@torch.inference_mode()
def patched_likelihoods(
    stacked: StackedModel,
    rows: Sequence[Row],
    *,
    into: Tensor,
    source: Tensor,
    patches: Sequence[Collection[int]],
    positions: Positions,
    batch: int,
    slots: int,
) -> list[list[float]]:
    """Return the log-probability of every row's target tokens under a model patched in several ways.

    A patch replaces the outputs of some decoder layers (the residual stream) by those of another model on the same
    tokens. Each patch is a slot of a batch, so all of them are computed in few forward passes.

    Args:
        stacked: the base model.
        rows: the rows.
        into: adapter [P] of the model that is patched.
        source: adapter [P] of the model whose states are put in.
        patches: for each patch its decoder layers; none for the model as it is.
        positions: where states are replaced.
        batch: largest number of rows of a forward pass, over all patches.
        slots: largest number of patches in a forward pass.

    Returns:
        [patch][row], in nats, summed over the target tokens.
    """
    found = [[0.0] * len(rows) for _ in patches]
    slots = min(slots, len(patches))
    size = max(1, batch // slots)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    with stacked.uncompiled():
        for start in range(0, len(order), size):
            places = order[start : start + size]
            some = [rows[place] for place in places]
            states = _states(stacked, source, some, needed={layer for patch in patches for layer in patch})
            for first in range(0, len(patches), slots):
                chunk = patches[first : first + slots]
                values = _under_patches(stacked, into, some, chunk, states=states, positions=positions)
                for patch, of_rows in enumerate(values.tolist(), start=first):
                    for place, value in zip(places, of_rows, strict=True):
                        found[patch][place] = value
    return found


def _states(
    stacked: StackedModel, source: Tensor, rows: Sequence[Row], *, needed: Collection[int]
) -> dict[int, Tensor]:
    """Return the source's states after the needed layers, [tokens, width] each, row after row."""
    if not needed:
        return {}
    ragged = stacked.rows([[row.ids for row in rows]]).to(source.device)
    with stacked.adapters(source[None]), hidden_states(stacked.model, needed) as kept:
        last_states(stacked.model, ragged)
    return {layer: ragged.sequence(kept[layer]) for layer in needed}


def _under_patches(
    stacked: StackedModel,
    into: Tensor,
    rows: Sequence[Row],
    patches: Sequence[Collection[int]],
    *,
    states: dict[int, Tensor],
    positions: Positions,
) -> Tensor:
    """Return log-probabilities [patches, rows]."""
    k = len(patches)
    ragged = stacked.rows([[row.ids for row in rows]] * k).to(into.device)
    predicting, labels, owner = _answer_tokens(rows, device=into.device)
    replaced = predicting if positions == "answer" else torch.arange(sum(len(r.ids) for r in rows), device=into.device)
    firsts = torch.tensor(ragged.starts, device=into.device)

    def change(layer: int) -> Callable[[Tensor], Tensor]:
        patched = firsts[[i for i, patch in enumerate(patches) if layer in patch]]
        places = _in_output((patched[:, None] + replaced).flatten(), ragged)

        def put(hidden: Tensor) -> Tensor:
            flat = hidden.flatten(0, 1).clone()
            flat[places] = states[layer][replaced].repeat(len(patched), 1).to(flat.dtype)
            return flat.view_as(hidden)

        return put

    changes = {layer: change(layer) for layer in sorted({layer for patch in patches for layer in patch})}
    with stacked.adapters(into.expand(k, -1)), _changed(stacked.model, changes):
        last = last_states(stacked.model, ragged)
    logits = head(stacked.model, last[(firsts[:, None] + predicting).flatten()])
    logp = logits.float().log_softmax(-1).view(k, len(labels), -1)
    of_labels = logp.gather(-1, labels.expand(k, -1)[..., None])[..., 0].double()
    return torch.zeros(k, len(rows), dtype=torch.float64, device=into.device).index_add_(1, owner, of_labels)


def _answer_tokens(rows: Sequence[Row], *, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return of each target token the position that predicts it, row after row; its id; and its row's number."""
    positions: list[int] = []
    labels: list[int] = []
    owner: list[int] = []
    at = 0
    for i, row in enumerate(rows):
        positions += range(at + row.start - 1, at + len(row.ids) - 1)
        labels += row.ids[row.start :]
        owner += [i] * (len(row.ids) - row.start)
        at += len(row.ids)
    return tuple(torch.tensor(x, device=device) for x in (positions, labels, owner))  # type: ignore[return-value] # three


def _in_output(places: Tensor, ragged: Ragged) -> Tensor:
    """Return where tokens of the concatenated rows are in a layer's flattened output."""
    if not ragged.padded:
        return places
    assert ragged.gather is not None
    return ragged.gather[places]


@contextmanager
def _changed(model: nn.Module, changes: dict[int, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Change the outputs of some decoder layers within a ``with`` block."""

    def hook_of(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        return hook

    with ExitStack() as opened:
        for layer, change in changes.items():
            handle = layers(model)[layer].register_forward_hook(hook_of(change))
            opened.callback(handle.remove)
        yield
