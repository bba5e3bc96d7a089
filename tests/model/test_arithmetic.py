"""Adapter arithmetic against dense matrices."""

import numpy as np
import pytest
import torch
from torch import Tensor

from xlharm.model.arithmetic import combine, product, project_out
from xlharm.model.layout import Layout, Segment

LAYOUT = Layout(
    rank=3,
    alpha=6.0,
    targets=("a", "b"),
    segments=(Segment("l.0.a", 0, 7, 5, 0), Segment("l.0.b", 0, 6, 9, 3 * 12)),
)


def adapter(seed: int) -> Tensor:
    return torch.randn(LAYOUT.size, generator=torch.Generator().manual_seed(seed))


def dense(vector: Tensor) -> list[np.ndarray]:
    return [product(vector, segment, LAYOUT).numpy() for segment in LAYOUT.segments]


def test_from_the_fine_tuned_model_a_step_of_one_gives_the_original() -> None:
    original, tuned = adapter(1), adapter(2)
    combined = combine([(1.0, tuned), (-1.0, tuned), (1.0, original)], parent=tuned, layout=LAYOUT)
    for mine, theirs in zip(dense(combined.adapter), dense(original), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert combined.lost == pytest.approx(0, abs=1e-12)


def grown(parent: Tensor, *, towards: list[Tensor]) -> Tensor:
    """Add to every layer's product one direction of the input: B's last column times the given row."""
    vector = parent.clone()
    for segment, row in zip(LAYOUT.segments, towards, strict=True):
        a = vector[segment.offset : segment.offset + 3 * segment.fan_in].view(3, segment.fan_in)
        a[2] += row
    return vector


def test_projecting_takes_a_direction_out_of_the_input() -> None:
    parent = adapter(1)
    rows = [torch.eye(7)[1] * 2, torch.eye(6)[4] * 2]
    forget, retain = grown(parent, towards=rows), grown(parent, towards=[torch.eye(7)[0], torch.eye(6)[0]])
    projected = project_out(parent, forget, retain, dimensions=1, kept_dimensions=1, layout=LAYOUT)
    for mine, theirs, gone in zip(dense(projected.adapter), dense(parent), (1, 4), strict=True):
        np.testing.assert_allclose(mine[:, gone], 0, atol=1e-5)
        rest = [i for i in range(mine.shape[1]) if i != gone]
        np.testing.assert_allclose(mine[:, rest], theirs[:, rest], atol=1e-5)


def test_projecting_an_orthogonal_subspace_changes_nothing() -> None:
    parent = adapter(1)
    for segment, silent in zip(LAYOUT.segments, (1, 4), strict=True):
        a = parent[segment.offset : segment.offset + 3 * segment.fan_in].view(3, segment.fan_in)
        a[:, silent] = 0  # the adapter does not read this input
    rows = [torch.eye(7)[1], torch.eye(6)[4]]
    kept = grown(parent, towards=[torch.eye(7)[0], torch.eye(6)[0]])
    projected = project_out(parent, grown(parent, towards=rows), kept, dimensions=1, kept_dimensions=1, layout=LAYOUT)
    torch.testing.assert_close(projected.adapter, parent, atol=1e-6, rtol=0)


def test_a_layer_in_which_nothing_was_learnt_stays() -> None:
    parent = adapter(1)
    first = LAYOUT.segments[0]
    forget = parent.clone()
    forget[: first.offset + 3 * 12] += 0.1 * adapter(2)[: 3 * 12]
    projected = project_out(parent, forget, parent, dimensions=2, kept_dimensions=1, layout=LAYOUT)
    mine, theirs = dense(projected.adapter), dense(parent)
    assert np.linalg.norm(mine[0] - theirs[0]) > 0.1 * np.linalg.norm(theirs[0])
    np.testing.assert_array_equal(mine[1], theirs[1])
    assert project_out(parent, parent, parent, dimensions=2, kept_dimensions=1, layout=LAYOUT).moved < 1e-6


def test_what_the_retain_rows_use_is_spared() -> None:
    parent = adapter(1)
    same = grown(parent, towards=[torch.eye(7)[1], torch.eye(6)[4]])
    projected = project_out(parent, same, same, dimensions=1, kept_dimensions=1, layout=LAYOUT)
    torch.testing.assert_close(projected.adapter, parent, atol=1e-5, rtol=0)


def test_stacked_experts_are_edited_as_linear_layers_of_their_own() -> None:
    """Experts [A, A, B, B] and linear layers [A, B], [A, B] hold the same numbers in another order."""
    stack = Layout(
        rank=3, alpha=6.0, targets=("experts.a",), segments=(Segment("l.0.experts.a", 0, 7, 5, 0, experts=2),)
    )
    linears = (Segment("l.0.a", 0, 7, 5, 0), Segment("l.1.a", 1, 7, 5, 36))
    apart = Layout(rank=3, alpha=6.0, targets=("a",), segments=linears)

    def as_linear(vector: Tensor) -> Tensor:
        a, b = stack.segments[0].factors(vector, rank=3)
        return torch.cat([part.flatten() for expert in range(2) for part in (a[expert], b[expert])])

    one, two, three = (torch.randn(72, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    terms = [(1.0, one), (-0.5, two)]
    found = combine(terms, parent=one, layout=stack)
    expected = combine([(c, as_linear(v)) for c, v in terms], parent=as_linear(one), layout=apart)
    torch.testing.assert_close(as_linear(found.adapter), expected.adapter)
    assert (found.lost, found.moved) == (pytest.approx(expected.lost), pytest.approx(expected.moved))
    found = project_out(one, two, three, dimensions=2, kept_dimensions=1, layout=stack)
    expected = project_out(
        as_linear(one), as_linear(two), as_linear(three), dimensions=2, kept_dimensions=1, layout=apart
    )
    torch.testing.assert_close(as_linear(found.adapter), expected.adapter)
    assert found.moved == pytest.approx(expected.moved)
