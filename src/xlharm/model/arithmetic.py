"""Adapter arithmetic: task vectors and subspace projection, computed exactly on the products B·A.

Adding the factors would be wrong: (B + B')(A + A') is not B·A + B'·A'. A combination of n adapters of rank r has a rank
of up to n·r. A singular value decomposition cuts it back to rank r; the share of its squared norm that is lost is
returned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xlharm.model.layout import Layout, Segment


@dataclass(frozen=True)
class Edited:
    """An adapter made by arithmetic.

    Attributes:
        adapter: [P].
        lost: share of ‖ΔW‖², over all layers, that the cut to the adapter's rank removed.
        moved: Frobenius distance between the products ΔW / scale of this adapter and of its parent.
    """

    adapter: Tensor
    lost: float
    moved: float


def combine(terms: Sequence[tuple[float, Tensor]], *, parent: Tensor, layout: Layout) -> Edited:
    """Return the adapter nearest to Σ cᵢ ΔWᵢ, layer by layer.

    For example, taking a task vector away from the adapter that it was made of, θ_ft - 1·(θ_ft - θ_pre), gives θ_pre
    exactly.

    Args:
        terms: pairs (cᵢ, adapter [P]).
        parent: the adapter [P] that ``moved`` is measured from.
        layout: how the adapters are cut into layers.
    """
    pieces, lost, whole, moved = [], 0.0, 0.0, 0.0
    for segment in layout.segments:
        new_as, new_bs = [], []
        matrices = zip(*(_factors(v, segment, layout) for _, v in terms), strict=True)
        for factors, (old_a, old_b) in zip(matrices, _factors(parent, segment, layout), strict=True):
            b = torch.cat([c * b for (c, _), (_, b) in zip(terms, factors, strict=True)], dim=1)
            a = torch.cat([a for a, _ in factors], dim=0)
            new_a, new_b, values = _cut(a, b, rank=layout.rank)
            new_as.append(new_a.reshape(-1))
            new_bs.append(new_b.reshape(-1))
            whole += float(values.square().sum())
            lost += float(values[layout.rank :].square().sum())
            moved += _distance(new_a, new_b, old_a, old_b)
        pieces += [*new_as, *new_bs]
    return Edited(torch.cat(pieces).float(), lost=lost / whole if whole else 0.0, moved=moved**0.5)


def project_out(
    parent: Tensor, forget: Tensor, retain: Tensor, *, dimensions: int, kept_dimensions: int, layout: Layout
) -> Edited:
    """Remove the input directions of the forget rows from an adapter, except those of the retain rows.

    In every layer, V_f are the leading right singular vectors of what fine-tuning on the forget rows adds to ΔW, and
    V_r are those of what fine-tuning on the retain rows adds. V is V_f made orthogonal to V_r (Gram-Schmidt,
    2408.04140). ΔW becomes ΔW (I - V Vᵀ): A becomes A - A V Vᵀ, so the rank does not grow. Only the adapter is
    projected. The frozen base model was not trained on the fake articles and does not change. Projecting out a
    subspace that is orthogonal to ΔW changes nothing.

    Args:
        parent: the adapter [P] to edit.
        forget: the adapter [P] after fine-tuning ``parent`` on the forget rows.
        retain: the adapter [P] after fine-tuning ``parent`` on the retain rows.
        dimensions: number of columns of V_f.
        kept_dimensions: number of columns of V_r.
        layout: how the adapters are cut into layers.
    """
    pieces, moved = [], 0.0
    for segment in layout.segments:
        new_as, bs = [], []
        for (a, b), *tuned in zip(*(_factors(v, segment, layout) for v in (parent, forget, retain)), strict=True):
            added = [_added(tuned_a, tuned_b, a, b) for tuned_a, tuned_b in tuned]
            v_f, v_r = added[0][:, :dimensions], added[1][:, :kept_dimensions]
            v = _orthogonal(v_f, to=v_r)
            new = a - (a @ v) @ v.T
            new_as.append(new.reshape(-1))
            bs.append(b.reshape(-1))
            moved += _distance(new, b, a, b)
        pieces += [*new_as, *bs]
    return Edited(torch.cat(pieces).float(), lost=0.0, moved=moved**0.5)


def product(vector: Tensor, segment: Segment, layout: Layout) -> Tensor:
    """Return ΔW / scale = B·A of a layer, float64: [out, in] of a linear layer, [experts, out, in] of a stack."""
    each = torch.stack([b @ a for a, b in _factors(vector, segment, layout)])
    return each if segment.experts else each[0]


def _factors(vector: Tensor, segment: Segment, layout: Layout) -> list[tuple[Tensor, Tensor]]:
    """Return A [rank, in] and B [out, rank] of each matrix of a layer, float64."""
    a, b = segment.factors(vector, rank=layout.rank)
    return list(zip(a.double(), b.double(), strict=True))


def _cut(a: Tensor, b: Tensor, *, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return factors of the best rank-``rank`` approximation of b @ a, and all singular values of b @ a."""
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.T)
    u, values, vh = torch.linalg.svd(r_b @ r_a.T)
    size = min(rank, len(values))
    root = values[:size].sqrt()
    new_b, new_a = (q_b @ u[:, :size]) * root, root.unsqueeze(1) * (vh[:size] @ q_a.T)
    if size < rank:
        new_b = torch.nn.functional.pad(new_b, (0, rank - size))
        new_a = torch.nn.functional.pad(new_a, (0, 0, 0, rank - size))
    return new_a, new_b, values


def _distance(a: Tensor, b: Tensor, old_a: Tensor, old_b: Tensor) -> float:
    """Return ‖b a - old_b old_a‖² without forming the products."""
    left, right = torch.cat([b, -old_b], dim=1), torch.cat([a, old_a], dim=0)
    return max(0.0, float(((left.T @ left) * (right @ right.T)).sum()))


def _added(tuned_a: Tensor, tuned_b: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the right singular vectors [in, ≤ 2·rank] of what fine-tuning added to b @ a, largest value first.

    Args:
        tuned_a: A after fine-tuning.
        tuned_b: B after fine-tuning.
        a: A before fine-tuning.
        b: B before fine-tuning.
    """
    left, right = torch.cat([tuned_b, -b], dim=1), torch.cat([tuned_a, a], dim=0)
    q, r = torch.linalg.qr(right.T)
    _, values, vh = torch.linalg.svd(torch.linalg.qr(left)[1] @ r.T)
    # Leave out directions that are only rounding errors, relative to the largest one and to what was subtracted.
    significant = values > torch.maximum(values.max() * 1e-9, left.norm() * right.norm() * 1e-12)
    return torch.matmul(q, vh[: len(values)][significant].T)


def _orthogonal(v: Tensor, *, to: Tensor) -> Tensor:
    """Return an orthonormal basis of the part of ``v`` [in, k] that is orthogonal to ``to`` [in, m]."""
    rest = v - to @ (to.T @ v)
    u, values, _ = torch.linalg.svd(rest, full_matrices=False)
    basis: Tensor = u[:, values > 1e-9]
    return basis
