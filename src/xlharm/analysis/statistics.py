"""Tests, intervals and sample sizes for comparisons of rates and scores.

Everything random takes a seed and gives the same numbers again for it.
"""

from collections.abc import Callable, Sequence
from math import ceil, comb, exp, inf, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xlharm.analysis.intervals import wilson

_Floats = npt.NDArray[np.float64]
_EXACT_KS = 10_000  # beyond this sample size the Kolmogorov series is right to more digits than one reads
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

    Exact (Hodges 1957, by counting lattice paths) up to samples of 10 000, Kolmogorov's series beyond. With ties
    the exact p-value errs on the high side.

    Args:
        a: first sample, [n].
        b: second sample, [m].

    Raises:
        ValueError: a sample is empty or holds nan.
    """
    x, y = np.sort(_sample(a)), np.sort(_sample(b))
    n, m = x.size, y.size
    points = np.concatenate([x, y])
    # in units of 1/(nm), so that distances compare exactly
    gaps = np.searchsorted(x, points, side="right") * m - np.searchsorted(y, points, side="right") * n
    distance = int(np.abs(gaps).max())
    statistic = distance / (n * m)
    exact = max(n, m) <= _EXACT_KS
    return KolmogorovSmirnov(
        statistic, _ks_exact(n, m, distance) if exact else _kolmogorov(statistic * sqrt(n * m / (n + m)))
    )


def _ks_exact(n: int, m: int, distance: int) -> float:
    """Share of the orders of n + m values in which the distance, in units of 1/(nm), is reached.

    Walks the antidiagonals i + j = s and sums only positive numbers: p-values of 1e-30 keep their digits.
    """
    if distance == 0:
        return 1.0
    i = np.arange(n + 1)
    reached = np.zeros(n + 1)  # [i]: share of paths to (i, s - i) that touched the distance
    for s in range(1, n + m + 1):
        j = s - i
        by_first = np.concatenate([[0.0], reached[:-1]]) * i / s
        reached = by_first + reached * j / s
        reached[np.abs(i * m - j * n) >= distance] = 1.0
        reached[(j < 0) | (j > m)] = 0.0  # off the lattice; their weight above is 0 or never read
    return min(1.0, float(reached[n]))


def _kolmogorov(x: float) -> float:
    """Survival function of Kolmogorov's distribution, 2 Σ (-1)^(k-1) exp(-2 k² x²)."""
    if x < 0.2:  # 1 to twelve digits, and the series is slow
        return 1.0
    return min(1.0, 2 * sum((-1.0) ** (k - 1) * exp(-2 * k * k * x * x) for k in range(1, 40)))


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
    rng = np.random.default_rng(seed)
    means = _in_chunks(lambda rows: difference[rng.integers(0, n, (rows, n))].mean(axis=1), resamples, width=n)
    return _percentile(float(difference.mean()), means, level, items=n, least=-1.0)


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
    rng = np.random.default_rng(seed)

    def draw(count: int) -> _Floats:
        by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds  # [count, seeds]
        by_item = rng.multinomial(items, np.full(items, 1 / items), size=count) / items  # [count, items]
        means: _Floats = ((by_seed @ table) * by_item).sum(axis=1)
        return means

    least = -1.0 if table.min() < 0 else 0.0
    drawn = _in_chunks(draw, resamples, width=seeds + items)
    return _percentile(float(table.mean()), drawn, level, items=items, least=least)


def mcnemar_exact(before: npt.ArrayLike, after: npt.ArrayLike) -> float:
    """Two-sided p-value of the exact McNemar test (McNemar 1947): binomial on the items that changed.

    Args:
        before: 0 or 1 for each item, [items].
        after: 0 or 1 for the same items, [items].

    Raises:
        ValueError: the samples are empty, differ in length or hold other numbers than 0 and 1.
    """
    difference = _differences(before, after)
    if not (np.isin(before, (0, 1)).all() and np.isin(after, (0, 1)).all()):
        raise ValueError("McNemar's test takes outcomes of 0 and 1")
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    changed = gained + lost
    tail = sum(comb(changed, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << changed))


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
    """Return P(|Σ ± units| >= |Σ units|): the sum's distribution, one item after another."""
    reach = int(np.abs(units).sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for step in np.abs(units):
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2  # nothing ever comes around: reach holds all
    places = np.abs(np.arange(-reach, reach + 1))
    return float(chances[places >= abs(int(units.sum()))].sum())


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


def required_n(p1: float, p2: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Items *per group* to tell two independent proportions apart, two-sided (Fleiss 1981, no continuity correction).

    n = (z_{α/2} √(2 p̄ q̄) + z_β √(p1 q1 + p2 q2))² / (p1 - p2)².

    Args:
        p1: rate in one group, as a fraction of 1.
        p2: rate in the other.
        power: chance to find the difference.
        alpha: two-sided level.

    Raises:
        ValueError: the rates are equal (no n suffices) or not within 0 to 1.
    """
    _fractions(p1, p2)
    mean = (p1 + p2) / 2
    spread = sqrt(2 * mean * (1 - mean)), sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return _items(spread, difference=p1 - p2, power=power, alpha=alpha)


def required_n_paired(gained: float, lost: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Items to find a change between two answers to the *same* items by McNemar's test (Connor 1987).

    n = (z_{α/2} √ψ + z_β √(ψ - δ²))² / δ² with ψ = gained + lost and δ = gained - lost.

    Args:
        gained: share of all items that go from 0 to 1.
        lost: share of all items that go from 1 to 0.
        power: chance to find the change.
        alpha: two-sided level.

    Raises:
        ValueError: the shares are equal (no n suffices), not within 0 to 1, or above 1 together.
    """
    changed = gained + lost
    _fractions(gained, lost, changed)
    difference = gained - lost
    spread = sqrt(changed), sqrt(max(0.0, changed - difference**2))
    return _items(spread, difference=difference, power=power, alpha=alpha)


def power_two_proportions(
    n: int, p1: float, p2: float, *, seeds: int = 1, between_seed_sd: float = 0.0, alpha: float = 0.05
) -> float:
    """Chance to find p1 against p2 when each group is ``seeds`` models asked ``n`` items each (normal approximation).

    A group's mean has variance p(1 - p)/(n·seeds) + sd²/seeds: items alone cannot buy what seeds are missing. One
    seed without spread between seeds is ``required_n``'s inverse. The spread counts as known: with few seeds, from
    which it must be estimated, the true power is lower.

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


def _items(spread: tuple[float, float], *, difference: float, power: float, alpha: float) -> int:
    if not difference:
        raise ValueError("two equal rates cannot be told apart by any number of items")
    if not 0 < power < 1 or not 0 < alpha < 1:
        raise ValueError(f"power {power} and alpha {alpha} lie between 0 and 1")
    normal = NormalDist()
    reach = normal.inv_cdf(1 - alpha / 2) * spread[0] + normal.inv_cdf(power) * spread[1]
    return max(1, ceil((reach / difference) ** 2))


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
