"""CKA against its definition on features, by hand, and against a loop that leaves items out."""

import numpy as np
import pytest

from xlharm.model.similarity import debiased_cka, linear_cka

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 5)), RNG.normal(size=(12, 7))
Y[:, :3] += X[:, :3]


def on_features(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al. 2019: ‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖), of centred features."""
    x, y = x - x.mean(0), y - y.mean(0)
    norm = np.linalg.norm
    return float(norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y)))


def by_song(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, as traces and matrix products."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n, one = len(k), np.ones(len(k))
        k, m = k.copy(), m.copy()
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        sums = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return float((np.trace(k @ m) + sums - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3)))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / float(np.sqrt(hsic(k, k) * hsic(m, m)))


def test_the_value_is_that_of_the_definitions() -> None:
    assert linear_cka(X, Y).value == pytest.approx(on_features(X, Y))
    assert debiased_cka(X, Y).value == pytest.approx(by_song(X, Y))


def test_by_hand() -> None:
    # centred: (-1, 0, 1) and (-1, 2, -1): Yᵀ X = 0; and (-2, 0, 2) is the first one scaled
    column = np.array([[1.0], [2.0], [3.0]])
    assert linear_cka(column, np.array([[0.0], [3.0], [0.0]])).value == pytest.approx(0, abs=1e-12)
    assert linear_cka(column, np.array([[5.0], [7.0], [9.0]])).value == pytest.approx(1)
    # (-1, 0, 1) and (0, -1, 1): (1)² / (2 · 2)
    assert linear_cka(column, np.array([[4.0], [3.0], [5.0]])).value == pytest.approx(0.25)


@pytest.mark.parametrize(("measure", "plain"), [(linear_cka, on_features), (debiased_cka, by_song)])
def test_without_each_item_it_is_computed_anew(measure: object, plain: object) -> None:
    without = measure(X, Y).without  # type: ignore[operator] # a function
    expected = [plain(np.delete(X, i, 0), np.delete(Y, i, 0)) for i in range(12)]  # type: ignore[operator] # a function
    np.testing.assert_allclose(without, expected, rtol=1e-9)


def test_of_identical_rotated_and_scaled_states_it_is_one() -> None:
    rotation, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    for same in (X, 3 * X @ rotation + 2):
        assert linear_cka(X, same).value == pytest.approx(1)
    for same in (X, 3 * X @ rotation):
        assert debiased_cka(X, same).value == pytest.approx(1)


def test_of_unrelated_wide_states_only_the_debiased_one_is_near_zero() -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(20, 200)), rng.normal(size=(20, 200))) for _ in range(20)]
    assert np.mean([linear_cka(x, y).value for x, y in pairs]) > 0.8
    assert np.mean([debiased_cka(x, y).value for x, y in pairs]) == pytest.approx(0, abs=0.02)


def test_states_that_do_not_vary_have_no_similarity() -> None:
    still = np.ones((8, 3))
    assert np.isnan(linear_cka(still, X[:8]).value)
