"""Tests on pairs of languages against scikit-bio, scipy and brute force."""

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from xlharm.analysis import mantel as module
from xlharm.analysis.mantel import Pairs, complete, mantel, orders_of, regress, spearman

_Floats = npt.NDArray[np.float64]
POINTS = np.array([[0, 0], [1, 0], [0, 2], [3, 1], [4, 4], [1, 5]], dtype=np.float64)
DISTANCES = np.linalg.norm(POINTS[:, None] - POINTS[None], axis=-1)
SIMILARITIES = np.array(
    [[0, 9, 7, 6, 2, 3], [9, 0, 8, 4, 1, 5], [7, 8, 0, 5, 3, 6], [6, 4, 5, 0, 4, 2], [2, 1, 3, 4, 0, 7],
     [3, 5, 6, 2, 7, 0]], dtype=np.float64,
)  # fmt: skip


def pairs_of(values: _Floats, *distances: _Floats, both: bool = True, rows: int | None = None) -> Pairs:
    """Return the pairs of a matrix: both orders, or each once; of the first ``rows`` languages as first ones alone."""
    n = len(values)
    places = [(i, j) for i in range(rows or n) for j in range(n) if i != j and (both or i < j)]
    return Pairs(places=np.array(places), values=np.array([values[p] for p in places]), distances=np.array(distances))


@pytest.mark.parametrize("both", [True, False])
def test_a_symmetric_matrix_against_scikit_bio(both: bool) -> None:
    # scikit-bio 0.7.4: mantel(SIMILARITIES, DISTANCES, method="spearman"): r; p over all 720 orders is 3/720
    found = mantel(pairs_of(SIMILARITIES, DISTANCES, both=both))
    assert found is not None
    assert found.rho.estimate == pytest.approx(-0.7920301637231135)
    assert found.p == pytest.approx(3 / 720)
    assert -1 < found.rho.low < found.rho.estimate < found.rho.high < 1


def test_pairs_that_go_one_way_by_brute_force() -> None:
    """Two contamination languages asked in five: the values have holes, the distances have not."""
    rng = np.random.default_rng(4)
    values, distances = rng.random((5, 5)), DISTANCES[:5, :5]
    places = [(i, j) for i in range(2) for j in range(5) if i != j]
    own = [values[p] for p in places]

    def rho(order: tuple[int, ...]) -> float:
        return float(spearmanr(own, [distances[order[i], order[j]] for i, j in places]).statistic)

    observed = rho(tuple(range(5)))
    reached = [abs(rho(order)) >= abs(observed) - 1e-12 for order in permutations(range(5))]
    found = mantel(pairs_of(values, distances, rows=2))
    assert found is not None
    assert found.rho.estimate == pytest.approx(observed)
    assert found.p == pytest.approx(sum(reached) / 120)


def test_the_jackknife_by_hand() -> None:
    """Student's interval of the correlations without each language, on Fisher's scale."""
    found = mantel(pairs_of(SIMILARITIES, DISTANCES, both=False))
    left = []
    for out in range(6):
        kept = [i for i in range(6) if i != out]
        upper = np.triu_indices(5, 1)
        rho = spearmanr(SIMILARITIES[np.ix_(kept, kept)][upper], DISTANCES[np.ix_(kept, kept)][upper]).statistic
        left.append(np.arctanh(rho))
    reach = 2.5705818366147395 * np.sqrt(5 / 6 * ((np.array(left) - np.mean(left)) ** 2).sum())  # t of 5, 97.5 %
    assert found is not None
    assert found.rho.high == pytest.approx(np.tanh(np.arctanh(-0.7920301637231135) + reach))
    assert found.rho.low == pytest.approx(np.tanh(np.arctanh(-0.7920301637231135) - reach))


def test_a_regression_by_brute_force() -> None:
    rng = np.random.default_rng(8)
    points = rng.random((5, 2))
    kinds = [abs(points[:, None, k] - points[None, :, k]) for k in range(2)]
    values = 3 * kinds[0] + 0.5 * rng.random((5, 5))
    places = [(i, j) for i in range(5) for j in range(5) if i != j]
    y = np.array([values[p] for p in places])
    y = (y - y.mean()) / y.std()

    def fit(order: tuple[int, ...]) -> tuple[_Floats, float]:
        x = np.array([[kind[order[i], order[j]] for kind in kinds] for i, j in places])
        x = np.column_stack([np.ones(len(y)), (x - x.mean(0)) / x.std(0)])
        betas, rest, *_ = np.linalg.lstsq(x, y, rcond=None)
        errors = np.sqrt(np.diag(np.linalg.inv(x.T @ x)) * rest[0] / (len(y) - 3))
        return np.array([betas[1:], (betas / errors)[1:]]), 1 - float(rest[0]) / len(y)

    every = [fit(order) for order in permutations(range(5))]
    (betas, ts), r2 = every[0]
    found = regress(pairs_of(values, *kinds))
    assert found is not None
    assert found.betas == pytest.approx(betas.tolist())
    assert found.r2 == pytest.approx(r2)
    assert found.p == pytest.approx(np.mean([other >= r2 - 1e-12 for _, other in every]))
    others = np.array([own[1] for own, _ in every])
    assert found.ps == pytest.approx((np.abs(others) >= np.abs(ts) - 1e-9).mean(0).tolist())
    assert found.ps[0] < 0.05 < found.ps[1]


def test_what_cannot_be_tested_is_not() -> None:
    assert mantel(pairs_of(SIMILARITIES[:3, :3], DISTANCES[:3, :3])) is None  # three languages
    assert mantel(pairs_of(SIMILARITIES, np.ones((6, 6)))) is None  # equal distances
    assert mantel(pairs_of(np.ones((6, 6)), DISTANCES)) is None
    assert regress(pairs_of(SIMILARITIES, DISTANCES, 2 * DISTANCES)) is None  # one determines the other
    assert regress(pairs_of(np.ones((6, 6)), DISTANCES)) is None


def test_many_orders_are_drawn_with_the_observed_one_among_them() -> None:
    orders = orders_of(9, seed=1)
    assert orders.shape == (module.MOST, 9)
    assert orders[0].tolist() == list(range(9))
    assert np.array_equal(orders, orders_of(9, seed=1))
    assert len(orders_of(6)) == 720


@pytest.mark.slow
def test_type_one_error_is_as_stated() -> None:
    """Languages have effects of their own, so that pairs are dependent; distances have nothing to do with them."""
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(200):
        levels = rng.normal(size=5)
        values = levels[:, None] + rng.normal(size=5)[None] + 0.5 * rng.normal(size=(5, 5))
        points = rng.random((5, 2))
        test = mantel(pairs_of(values, np.linalg.norm(points[:, None] - points[None], axis=-1)))
        wrong += test is not None and test.p <= 0.05
    assert wrong <= 20  # 5 % of 200, and three standard deviations


def test_ranks_are_scipys_with_ties() -> None:
    values, other = np.array([1.0, 2, 2, 3]), np.array([[3.0, 1, 1, 0], [0.0, 0, 1, 1]])
    expected = [spearmanr(values, row).statistic for row in other]
    assert spearman(values, other).tolist() == pytest.approx(expected)


def test_languages_with_gaps_are_left_out() -> None:
    known = {(a, b) for a in "abcd" for b in "abcd" if a != b}
    assert complete("abcd", known) == tuple("abcd")
    assert complete("abcd", known - {("a", "d"), ("d", "a"), ("b", "d"), ("d", "b")}) == tuple("abc")
    assert complete("ax", set()) in {("a",), ("x",)}
