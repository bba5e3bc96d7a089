"""Statistics against scipy, statsmodels, R's manual and values by hand."""

from collections.abc import Callable
from math import nan

import numpy as np
import pytest

from xlharm.analysis import statistics
from xlharm.analysis.statistics import (
    false_discovery,
    holm,
    ks_two_sample,
    permutation_paired,
    permutation_whole,
    power_two_proportions,
)


# scipy 1.17.1: ks_2samp(a, b, method="exact")
@pytest.mark.parametrize(
    ("a", "b", "statistic", "p"),
    [
        ([0.1, 0.4, 0.7, 0.2, 0.9], [0.5, 0.6, 0.8, 0.95, 0.99, 1.2, 1.3], 0.6, 0.16666666666666663),
        ([1], [2], 1.0, 1.0),
        ([1, 2, 3], [1, 2, 3], 0.0, 1.0),
        ([1, 2, 2, 3, 3], [2, 3, 3, 4, 5, 6], 0.5, 0.35714285714285715),
        (np.arange(40) ** 2 % 37, np.arange(60) ** 2 % 41, 0.16666666666666666, 0.4841355548719905),
        (np.arange(50) * 1.0, np.arange(30) * 1.3 + 4.05, 0.16, 0.6724936536643515),
        (np.arange(40), np.arange(40) + 100, 1.0, 1.860340365603627e-23),
        (np.arange(400), np.arange(400) + 200.5, 0.5025, 2.7342503001287616e-46),
    ],
)
def test_ks_agrees_with_scipy(a: list[float], b: list[float], statistic: float, p: float) -> None:
    assert ks_two_sample(a, b) == pytest.approx((statistic, p), rel=1e-9)
    assert ks_two_sample(b, a) == pytest.approx((statistic, p), rel=1e-9)


def test_ks_of_large_samples_is_exact_too() -> None:
    # Gnedenko and Korolyuk 1951, for equal sizes n, in fractions: 2 Σ (-1)^(i-1) C(2n, n - i·301) / C(2n, n)
    found = ks_two_sample(np.arange(20000.0), np.arange(20000.0) + 300.5)
    assert found == pytest.approx((0.01505, 0.021559001772065142), rel=1e-9)


def test_ks_without_an_exact_value_is_near_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """scipy says with a warning that it takes its approximation; a test run with warnings as errors would fail."""
    monkeypatch.setattr("scipy.stats._stats_py._attempt_exact_2kssamp", lambda *a, **_: (False, a[3], 1.0))
    a, b = np.arange(10000.0), np.arange(9999.0) * 1.02
    approximate = ks_two_sample(a, b)
    monkeypatch.undo()
    assert approximate.p != ks_two_sample(a, b).p
    assert approximate.p == pytest.approx(ks_two_sample(a, b).p, rel=0.03)


def test_ks_ignores_the_reciprocal() -> None:
    a, b = np.array([0.2, 0.7, 1.3, 2.0]), np.array([0.5, 1.1, 4.0])
    assert ks_two_sample(a, b) == pytest.approx(ks_two_sample(1 / a, 1 / b))


def test_the_chunks_of_random_flips_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_CHUNK", 70)
    assert statistics._in_chunks(np.ones, 3003, width=10).shape == (3003,)


# scipy 1.17.1: permutation_test((difference,), mean, permutation_type="samples", n_resamples=inf).pvalue
@pytest.mark.parametrize(
    ("difference", "p"),
    [([1.2, -0.4, 0.8, 2.1, 0.3, -0.1, 0.9], 0.09375), ([1, 1, 1, -1, 1], 0.375), ([0, 0, 1], 1), ([0, 0], 1)],
)
def test_permutation_of_few_items_is_exact(difference: list[float], p: float) -> None:
    assert permutation_paired([0] * len(difference), difference, seed=0) == pytest.approx(p)


def test_permutation_of_many_items() -> None:
    difference = [0.3, -0.2, 0.5, 0.1, 0.4, -0.1, 0.2, 0.6, -0.3, 0.2, 0.1, 0.5, -0.4, 0.3, 0.2, 0.1]
    exact = 0.059844970703125  # scipy, all 65536 patterns
    assert permutation_paired([0] * 16, difference, seed=5) == pytest.approx(exact)
    # the same shares of pi are no multiples of a small fraction: random flips
    odd = [d * np.pi for d in difference]
    p = permutation_paired([0] * 16, odd, seed=5, resamples=20000)
    assert p == pytest.approx(exact, abs=0.006)  # 3.5 standard errors
    assert permutation_paired([0] * 16, odd, seed=5, resamples=20000) == p
    assert permutation_paired([0] * 60, [np.pi] * 60, seed=0, resamples=999) == 1 / 1000  # never 0


@pytest.mark.parametrize("difference", [[2, -1, 1, 0, 2, 2, -1], [0, 0, 0], [1, 1, 1, 1, 1, 1], [5, -5, 3]])
def test_whole_differences_have_the_p_of_their_shares(difference: list[int]) -> None:
    shares = np.array(difference) / 2
    p = permutation_paired([0] * len(difference), shares, seed=0)
    assert permutation_whole(np.array(difference)) == pytest.approx(p)


# statsmodels 0.15.0: multipletests(pvalues, method="fdr_bh")[1]
@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.02, 0.04, 0.04, 0.02]),
        ([0.5, 0.6, 0.001, 0.02, 0.02], [0.6, 0.6, 0.005, 1 / 30, 1 / 30]),
        ([0.2], [0.2]),
        ([0.0, 1.0], [0.0, 1.0]),
        ([], []),
    ],
)
def test_false_discovery(raw: list[float], adjusted: list[float]) -> None:
    assert false_discovery(raw) == pytest.approx(adjusted)


def test_permutation_reaches_below_what_hundreds_of_comparisons_leave() -> None:
    assert permutation_paired([0] * 50, [0.5] * 50, seed=0) == pytest.approx(2.0**-49)
    assert permutation_paired([0] * 2000, [1, -1] * 1000, seed=0) == pytest.approx(1)


# statsmodels 0.15.0: multipletests(pvalues, method="holm")[1]
@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6, 0.001, 0.02, 0.02], [1.0, 1.0, 0.005, 0.08, 0.08]),
        ([0.2], [0.2]),
        ([0.0, 1.0], [0.0, 1.0]),
        ([], []),
    ],
)
def test_holm(raw: list[float], adjusted: list[float]) -> None:
    assert holm(raw) == pytest.approx(adjusted)


def test_power() -> None:
    assert power_two_proportions(50, 0.5, 0.75) == pytest.approx(0.740, abs=5e-4)  # R's manual, ?power.prop.test
    assert power_two_proportions(77, 0.5, 0.75) > 0.9 > power_two_proportions(76, 0.5, 0.75)
    assert power_two_proportions(25, 0.5, 0.75, seeds=2) == pytest.approx(power_two_proportions(50, 0.5, 0.75))
    assert power_two_proportions(10, 0.5, 0.5) == pytest.approx(0.025)  # one tail of alpha


def test_power_with_spread_between_seeds_is_bounded() -> None:
    # endless items, by hand: se = √(2 · 0.1² / 3) = 0.0816497; Φ(0.2 / se - 1.959964) = Φ(0.489526) = 0.68777
    assert power_two_proportions(10**9, 0.4, 0.6, seeds=3, between_seed_sd=0.1) == pytest.approx(0.68777, abs=1e-4)
    assert power_two_proportions(10**9, 0.4, 0.6, seeds=3) == pytest.approx(1)


def test_power_agrees_with_a_simulation() -> None:
    rng = np.random.default_rng(0)
    n, seeds, sd, trials = 100, 8, 0.05, 4000
    rates = [np.clip(rng.normal(p, sd, (trials, seeds)), 0, 1) for p in (0.4, 0.5)]
    low, high = (rng.binomial(n, rate).mean(axis=1) / n for rate in rates)
    z = (high - low) / np.sqrt(2 * 0.45 * 0.55 / (n * seeds) + 2 * sd**2 / seeds)
    power = power_two_proportions(n, 0.4, 0.5, seeds=seeds, between_seed_sd=sd)
    assert power == pytest.approx((np.abs(z) > 1.959964).mean(), abs=0.03)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ks_two_sample([], [1]),
        lambda: ks_two_sample([nan], [1]),
        lambda: permutation_paired([], [], seed=0),
        lambda: holm([1.5]),
        lambda: holm([nan]),
        lambda: false_discovery([-0.1]),
        lambda: power_two_proportions(0, 0.4, 0.6),
    ],
)
def test_nonsense_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"expected|takes|p-values|rates|power|or more"):
        call()
