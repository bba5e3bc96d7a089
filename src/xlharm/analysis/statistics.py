"""Tests, intervals and sample sizes for comparisons of rates and scores.

Everything random takes a seed and gives the same numbers again for it. Bootstraps and permutation tests are our own:
scipy's draw in another order, which would change published intervals and p-values.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xlharm.analysis.intervals import wilson

_Floats = npt.NDArray[np.float64]
_EXACT_KS = 10_000  # beyond this sample size Kolmogorov's limit is right to more digits than one reads
_EXACT_SUM = 100_000  # units: beyond this, random flips are quicker
_CHUNK = 2**21  # numbers drawn at a time
_SHARED = 2**23  # numbers of one draw that are kept for the next comparison (64 MiB)


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

    Exact (Hodges 1957) up to samples of 10 000, Kolmogorov's limit beyond. With ties the exact p-value errs on the
    high side.

    Args:
        a: first sample, [n].
        b: second sample, [m].

    Raises:
        ValueError: a sample is empty or holds nan.
    """
    from scipy.special import kolmogorov
    from scipy.stats import ks_2samp

    x, y = _sample(a), _sample(b)
    exact = max(x.size, y.size) <= _EXACT_KS
    test = ks_2samp(x, y, method="exact" if exact else "asymp")
    statistic = float(test.statistic)
    if exact:
        return KolmogorovSmirnov(statistic, float(test.pvalue))
    # scipy's own p for large samples is of another approximation
    return KolmogorovSmirnov(statistic, float(kolmogorov(statistic * sqrt(x.size * y.size / (x.size + y.size)))))


def paired_bootstrap(
    before: npt.ArrayLike, after: npt.ArrayLike, *, seed: int, resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Percentile bootstrap of the mean of after - before over the same items (Efron & Tibshirani 1993, chapter 13).

    Args:
        before: score of each item, [items].
        after: score of the same items in the same order, [items].
        seed: of the resampling.
        resamples: number of resamples.
        level: coverage.

    Raises:
        ValueError: the samples are empty or differ in length.
    """
    difference = _differences(before, after)
    n = difference.size
    if resamples * n <= _SHARED:
        means = _drawn_counts(n, seed=seed, resamples=resamples) @ difference / n
    else:
        rng = np.random.default_rng(seed)
        means = _in_chunks(lambda rows: difference[rng.integers(0, n, (rows, n))].mean(axis=1), resamples, width=n)
    return _percentile(float(difference.mean()), means, level, items=n, least=-1.0)


@lru_cache(maxsize=4)
def _drawn_counts(n: int, *, seed: int, resamples: int) -> _Floats:
    """Return how often each resample draws each of ``n`` items, [resamples, n]; a grid's effects share the draws."""
    rng = np.random.default_rng(seed)

    def draw(rows: int) -> _Floats:
        places = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        return np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)

    return _in_chunks(draw, resamples, width=n)


def hierarchical_bootstrap(
    values: Sequence[npt.ArrayLike], *, seed: int, resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Percentile bootstrap of the mean over seeds and items, both resampled (Owen 2007, the pigeonhole bootstrap).

    All seeds answer the same items, so one draw of items holds for all seeds drawn: an item that is easy for one
    is easy for all, and resampling items for each seed alone would hide that.

    Args:
        values: score of each item for each seed, [seeds][items]; pass differences for a paired comparison.
        seed: of the resampling.
        resamples: number of resamples.
        level: coverage.

    Raises:
        ValueError: nothing to resample, or the seeds have different numbers of items.
    """
    rows = [_sample(row) for row in values]
    if not rows or len({row.size for row in rows}) > 1:
        raise ValueError(f"expected the same items for every seed, not {[row.size for row in rows]}")
    table = np.stack(rows)  # [seeds, items]
    seeds, items = table.shape
    shares = _drawn_shares if resamples * (seeds + items) <= _SHARED else _drawn_shares.__wrapped__
    by_seed, by_item = shares(seeds, items, seed=seed, resamples=resamples)
    drawn = ((by_seed @ table) * by_item).sum(axis=1)
    least = -1.0 if table.min() < 0 else 0.0
    return _percentile(float(table.mean()), drawn, level, items=items, least=least)


@lru_cache(maxsize=4)
def _drawn_shares(seeds: int, items: int, *, seed: int, resamples: int) -> tuple[_Floats, _Floats]:
    """Return each resample's shares of the seeds, [resamples, seeds], and of the items, [resamples, items]."""
    rng = np.random.default_rng(seed)

    def draw(rows: int) -> _Floats:
        by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=rows) / seeds
        by_item = rng.multinomial(items, np.full(items, 1 / items), size=rows) / items
        return np.concatenate([by_seed, by_item], axis=1)

    shares = _in_chunks(draw, resamples, width=seeds + items)
    return shares[:, :seeds], shares[:, seeds:]


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


def _in_units(difference: _Floats) -> npt.NDArray[np.int64] | None:
    """Return differences as whole numbers of 1/k for the smallest k up to 24, None where there is no such k."""
    for k in range(1, 25):
        scaled = difference * k
        if np.allclose(scaled, scaled.round(), rtol=0, atol=1e-9) and np.abs(scaled).sum() < _EXACT_SUM:
            return scaled.round().astype(np.int64)
    return None


def _exact_flips(units: npt.NDArray[np.int64]) -> float:
    """Return P(|Σ ± units| >= |Σ units|)."""
    chances = _flipped_sums(tuple(np.abs(units).tolist()))
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
    if not all(0 <= p <= 1 for p in pvalues):
        raise ValueError(f"p-values lie within 0 to 1: {list(pvalues)}")
    adjusted, highest = [0.0] * len(pvalues), 0.0
    for rank, index in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        highest = max(highest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = highest
    return adjusted


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


def _percentile(estimate: float, means: _Floats, level: float, *, items: int, least: float) -> Interval:
    """Return the percentile interval of resampled means.

    Where all items are alike no resample differs, but other items might: as many of them as Wilson's interval of
    0 of ``items`` allows, and those may lie anywhere between ``least`` and 1.
    """
    if np.ptp(means) < 1e-12 and least <= estimate <= 1:
        others = wilson(0, items, level=level)[1]
        return Interval(estimate, estimate - others * (estimate - least), estimate + others * (1 - estimate))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))
