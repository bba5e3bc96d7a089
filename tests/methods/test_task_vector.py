"""The negated task vector against dense matrices."""

import numpy as np
import pytest

from tests.model.test_arithmetic import LAYOUT, adapter, dense
from xlharm.methods.task_vector import TaskVector


def test_a_step_of_zero_stays() -> None:
    edited = TaskVector(objective="task_vector", alpha=0.0).edit(adapter(1), [adapter(2)], layout=LAYOUT)
    for mine, theirs in zip(dense(edited.adapter), dense(adapter(1)), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert edited.moved == pytest.approx(0, abs=1e-5)


def test_negation_is_the_best_of_its_rank_and_says_what_is_lost() -> None:
    edited = TaskVector(objective="task_vector", alpha=0.5).edit(adapter(1), [adapter(2)], layout=LAYOUT)
    lost = whole = moved = 0.0
    for mine, pre, tuned in zip(dense(edited.adapter), dense(adapter(1)), dense(adapter(2)), strict=True):
        wanted = pre - 0.5 * (tuned - pre)
        u, s, vh = np.linalg.svd(wanted)
        best = (u[:, :3] * s[:3]) @ vh[:3]
        np.testing.assert_allclose(mine, best, atol=1e-4)
        lost, whole = lost + float((s[3:] ** 2).sum()), whole + float((s**2).sum())
        moved += float(((best - pre) ** 2).sum())
    assert edited.lost == pytest.approx(lost / whole)
    assert 0 < edited.lost < 1
    assert edited.moved == pytest.approx(moved**0.5, rel=1e-5)
