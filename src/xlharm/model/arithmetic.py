"""Adapter arithmetic on the products B·A, exact in them: task vectors and subspace projection.

Factors are not added: (B + B')(A + A') is not B·A + B'·A'. A combination of n adapters of rank r has rank up to
n·r; it is cut back to r by a singular value decomposition, and the share of its energy that is lost is returned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xlharm.model.lora import Layout, Segment


@dataclass(frozen=True)
class Edited:
    """An adapter made by arithmetic.

    Attributes:
        adapter: [P].
        lost: share of ‖ΔW‖² over all layers that did not fit the rank.
        moved: Frobenius distance of the products to the parent's.
    """

    adapter: Tensor
    lost: float
    moved: float


def combine(terms: Sequence[tuple[float, Tensor]], *, parent: Tensor, layout: Layout) -> Edited:
    """Return the adapter nearest to Σ cᵢ ΔWᵢ, layer by layer.

    From (θ_ft; c = 1) and α = 1 of its own task vector, terms 1·θ_ft - 1·θ_ft + 1·θ_pre, it is θ_pre exactly.
    """
    pieces, lost, whole, moved = [], 0.0, 0.0, 0.0
    for segment in layout.segments:
        factors = [(c, *_factors(v, segment, layout)) for c, v in terms]
        b = torch.cat([c * b for c, _, b in factors], dim=1)
        a = torch.cat([a for _, a, _ in factors], dim=0)
        new_a, new_b, values = _cut(a, b, rank=layout.rank)
        pieces += [new_a.reshape(-1), new_b.reshape(-1)]
        whole += float(values.square().sum())
        lost += float(values[layout.rank :].square().sum())
        old_a, old_b = _factors(parent, segment, layout)
        moved += _distance(new_a, new_b, old_a, old_b)
    return Edited(torch.cat(pieces).float(), lost=lost / whole if whole else 0.0, moved=moved**0.5)


def project_out(
    parent: Tensor, forget: Tensor, retain: Tensor, *, dimensions: int, kept_dimensions: int, layout: Layout
) -> Edited:
    """Take the forget rows' input directions out of an adapter, sparing those of the retain rows.

    In every layer: V_f are the leading right singular vectors of what fine-tuning on the forget rows adds to ΔW,
    V_r of what fine-tuning on the retain rows adds; V = V_f made orthogonal to V_r (Gram-Schmidt, 2408.04140);
    ΔW becomes ΔW (I - V Vᵀ), which is A - A V Vᵀ and keeps the rank. Only the adapter is projected: the frozen
    base, which never saw the fake articles, stays. Projecting an orthogonal subspace changes nothing.

    Args:
        parent: the adapter [P] to edit.
        forget: fine-tuned from it on the forget rows, [P].
        retain: fine-tuned from it on the retain rows, [P].
        dimensions: columns of V_f.
        kept_dimensions: columns of V_r.
        layout: how they are cut.
    """
    pieces, moved = [], 0.0
    for segment in layout.segments:
        a, b = _factors(parent, segment, layout)
        added = [_added(v, a, b, segment, layout) for v in (forget, retain)]
        v_f, v_r = added[0][:, :dimensions], added[1][:, :kept_dimensions]
        v = _orthogonal(v_f, to=v_r)
        new = a - (a @ v) @ v.T
        pieces += [new.reshape(-1), b.reshape(-1)]
        moved += _distance(new, b, a, b)
    return Edited(torch.cat(pieces).float(), lost=0.0, moved=moved**0.5)


def products(vector: Tensor, layout: Layout) -> Iterator[Tensor]:
    """Yield every layer's ΔW / scale = B·A [out, in], float64."""
    for segment in layout.segments:
        a, b = _factors(vector, segment, layout)
        yield b @ a


def _factors(vector: Tensor, segment: Segment, layout: Layout) -> tuple[Tensor, Tensor]:
    middle = segment.offset + layout.rank * segment.fan_in
    a = vector[segment.offset : middle].view(layout.rank, segment.fan_in)
    b = vector[middle : middle + segment.fan_out * layout.rank].view(segment.fan_out, layout.rank)
    return a.double(), b.double()


def _cut(a: Tensor, b: Tensor, *, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return factors of the best rank-``rank`` approximation of b @ a, and all its singular values."""
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.T)
    u, values, vh = torch.linalg.svd(r_b @ r_a.T)
    kept = min(rank, len(values))
    root = values[:kept].sqrt()
    new_b, new_a = (q_b @ u[:, :kept]) * root, root.unsqueeze(1) * (vh[:kept] @ q_a.T)
    if kept < rank:
        new_b = torch.nn.functional.pad(new_b, (0, rank - kept))
        new_a = torch.nn.functional.pad(new_a, (0, 0, 0, rank - kept))
    return new_a, new_b, values


def _distance(a: Tensor, b: Tensor, old_a: Tensor, old_b: Tensor) -> float:
    """Return ‖b a - old_b old_a‖² without forming the products."""
    left, right = torch.cat([b, -old_b], dim=1), torch.cat([a, old_a], dim=0)
    return max(0.0, float(((left.T @ left) * (right @ right.T)).sum()))


def _added(vector: Tensor, a: Tensor, b: Tensor, segment: Segment, layout: Layout) -> Tensor:
    """Return the right singular vectors [in, ≤ 2·rank] of what a fine-tuned adapter adds, strongest first."""
    tuned_a, tuned_b = _factors(vector, segment, layout)
    left, right = torch.cat([tuned_b, -b], dim=1), torch.cat([tuned_a, a], dim=0)
    q, r = torch.linalg.qr(right.T)
    _, values, vh = torch.linalg.svd(torch.linalg.qr(left)[1] @ r.T)
    # a direction counts when it is more than rounding, beside the strongest one and beside what was subtracted
    some = values > torch.maximum(values.max() * 1e-9, left.norm() * right.norm() * 1e-12)
    return torch.matmul(q, vh[: len(values)][some].T)


def _orthogonal(v: Tensor, *, to: Tensor) -> Tensor:
    """Return an orthonormal basis of what of ``v`` [in, k] is orthogonal to ``to`` [in, m]."""
    rest = v - to @ (to.T @ v)
    u, values, _ = torch.linalg.svd(rest, full_matrices=False)
    basis: Tensor = u[:, values > 1e-9]
    return basis
