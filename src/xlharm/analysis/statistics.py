"""Tests, intervals and sample sizes for comparisons of rates and scores.

Everything random takes a seed and gives the same numbers again for it. Permutation tests are our own: scipy's are not
exact for more than a few items, or draw in another order, which would change published p-values.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]
_EXACT_SUM = 100_000  # units: beyond this, random flips are quicker
_CHUNK = 2**21  # numbers drawn at a time


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    estimate: float
    low: float
    high: float


class KolmogorovSmirnov(NamedTuple):
    """Statistic (largest distance of the two distribution functions, 0 to 1) and two-sided p-value."""

    statistic: float
    p: float


def ks_two_sample(a: npt.ArrayLike, b: npt.ArrayLike) -> KolmogorovSmirnov:
    """Two-sample Kolmogorov-Smirnov test; its p on truth ratios is TOFU's forget quality (2401.06121).

    Exact (Hodges 1957). With ties the exact p-value errs on the high side. Where scipy has no exact value (two large
    samples whose sizes, without their common factor, multiply to 2^31 or more) its approximation for large samples is
    taken: for sizes near 10 000 it is within 3 % of the exact value, and nearer for larger ones.

    Args:
        a: first sample, [n].
        b: second sample, [m].

    Raises:
        ValueError: a sample is empty or holds nan.
    """
    from scipy.stats import ks_2samp

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation unsuccessful", RuntimeWarning)
        test = ks_2samp(_sample(a), _sample(b), method="exact")
    return KolmogorovSmirnov(float(test.statistic), float(test.pvalue))


def permutation_paired(before: npt.ArrayLike, after: npt.ArrayLike, *, seed: int, resamples: int = 10_000) -> float:
    """Two-sided p-value of the paired permutation test on the mean difference (Fisher 1935: signs flip).

    Exact over all sign patterns where differences are multiples of a small fraction, as shares of a few questions
    an item are: a correction for hundreds of comparisons needs p-values far below what random flips can show. Other
    values: random flips, counted with the observed one (Phipson & Smyth 2010), so that p is never 0.

    Args:
        before: score of each item, [items].
        after: score of the same items, [items].
        seed: of the random flips.
        resamples: number of random flips.

    Raises:
        ValueError: the samples are empty or differ in length.
    """
    difference = _differences(before, after)
    difference = difference[difference != 0]
    n = difference.size
    units = _in_units(difference)
    if units is not None:
        return _exact_flips(units)
    # a sum that equals the observed one up to rounding counts as reached
    observed = abs(float(difference.sum())) - 1e-9 * float(np.abs(difference).sum())
    rng = np.random.default_rng(seed)
    sums = _in_chunks(lambda rows: rng.choice((-1.0, 1.0), (rows, n)) @ difference, resamples, width=n)
    return (int((np.abs(sums) >= observed).sum()) + 1) / (resamples + 1)


def permutation_whole(difference: npt.NDArray[np.int64]) -> float:
    """Return the exact two-sided p-value of the paired permutation test on whole differences, as of hits, [items]."""
    return _exact_flips(difference[difference != 0])


def _in_units(difference: _Floats) -> npt.NDArray[np.int64] | None:
    """Return differences as whole numbers of 1/k for the smallest k up to 24, None where there is no such k."""
    for k in range(1, 25):
        scaled = difference * k
        if np.allclose(scaled, scaled.round(), rtol=0, atol=1e-9) and np.abs(scaled).sum() < _EXACT_SUM:
            return scaled.round().astype(np.int64)
    return None


def _exact_flips(units: npt.NDArray[np.int64]) -> float:
    """Return P(|Σ ± units| >= |Σ units|)."""
    chances = _flipped_sums(tuple(sorted(np.abs(units).tolist())))
    reach = len(chances) // 2
    places = np.abs(np.arange(-reach, reach + 1))
    return float(chances[places >= abs(int(units.sum()))].sum())


@lru_cache(maxsize=1024)
def _flipped_sums(steps: tuple[int, ...]) -> _Floats:
    """Return the chances of each value of Σ ± steps, from -Σ steps to Σ steps; many effects have the same steps."""
    reach = sum(steps)
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for step in steps:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2  # nothing ever comes around: reach holds all
    return chances


def holm(pvalues: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm 1979: step-down, monotone, at most 1), in the order given.

    Args:
        pvalues: one per hypothesis, 0 to 1.

    Raises:
        ValueError: one is not within 0 to 1.
    """
    _p_values(pvalues)
    adjusted, highest = [0.0] * len(pvalues), 0.0
    for rank, index in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        highest = max(highest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = highest
    return adjusted


def false_discovery(pvalues: Sequence[float]) -> list[float]:
    """Adjust p-values for the false discovery rate (Benjamini & Hochberg 1995), in the order given.

    Args:
        pvalues: one per hypothesis, 0 to 1.

    Raises:
        ValueError: one is not within 0 to 1.
    """
    _p_values(pvalues)
    adjusted, lowest = [0.0] * len(pvalues), 1.0
    ranked = sorted(range(len(pvalues)), key=pvalues.__getitem__)
    for rank in range(len(ranked), 0, -1):
        index = ranked[rank - 1]
        lowest = min(lowest, pvalues[index] * len(pvalues) / rank)
        adjusted[index] = lowest
    return adjusted


def _p_values(pvalues: Sequence[float]) -> None:
    if not all(0 <= p <= 1 for p in pvalues):
        raise ValueError(f"p-values lie within 0 to 1: {list(pvalues)}")


def power_two_proportions(
    n: int, p1: float, p2: float, *, seeds: int = 1, between_seed_sd: float = 0.0, alpha: float = 0.05
) -> float:
    """Chance to find p1 against p2 when each group is ``seeds`` models asked ``n`` items each (normal approximation).

    A group's mean has variance p(1 - p)/(n·seeds) + sd²/seeds: items alone cannot buy what seeds are missing.
    The spread counts as known: with few seeds, from which it must be estimated, the true power is lower.

    Args:
        n: items per seed.
        p1: rate in one group, as a fraction of 1.
        p2: rate in the other.
        seeds: models per group.
        between_seed_sd: standard deviation of the true rate between seeds, as a fraction of 1.
        alpha: two-sided level.

    Raises:
        ValueError: a rate is not within 0 to 1, n or seeds is below 1, or the deviation below 0.
    """
    _fractions(p1, p2)
    if n < 1 or seeds < 1 or between_seed_sd < 0:
        raise ValueError(f"n {n} and seeds {seeds} are 1 or more, the deviation {between_seed_sd} is 0 or more")
    mean = (p1 + p2) / 2
    seed_variance = 2 * between_seed_sd**2 / seeds
    null = sqrt(2 * mean * (1 - mean) / (n * seeds) + seed_variance)
    real = sqrt((p1 * (1 - p1) + p2 * (1 - p2)) / (n * seeds) + seed_variance)
    margin = abs(p1 - p2) - NormalDist().inv_cdf(1 - alpha / 2) * null
    return NormalDist().cdf(margin / real if real else (inf if margin > 0 else -inf))


def _fractions(*rates: float) -> None:
    if not all(0 <= rate <= 1 for rate in rates):
        raise ValueError(f"rates are fractions of 1, not {rates}")


def _sample(values: npt.ArrayLike) -> _Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or np.isnan(array).any():
        raise ValueError(f"expected a sample of one or more numbers, not shape {array.shape} or nan")
    return array


def _differences(before: npt.ArrayLike, after: npt.ArrayLike) -> _Floats:
    first, second = _sample(before), _sample(after)
    if first.size != second.size:
        raise ValueError(f"expected the same items: {first.size} before, {second.size} after")
    return second - first


def _in_chunks(draw: Callable[[int], _Floats], resamples: int, *, width: int) -> _Floats:
    """Draw ``resamples`` statistics of ``width`` numbers each without holding all numbers at once."""
    size = max(1, _CHUNK // width)
    return np.concatenate([draw(min(size, resamples - start)) for start in range(0, resamples, size)])
