"""Intervals for statistics over items that are no rates: means, ratios of means, and functions of means."""

from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from xlharm.analysis.statistics import Interval

_Floats = npt.NDArray[np.float64]


def of_mean(values: _Floats, *, low: float = -np.inf, high: float = np.inf, level: float = 0.95) -> Interval:
    """Return the mean of items with Student's interval; that of one item is all there can be.

    Args:
        values: one for each item, [items]; not empty.
        low: least value there can be.
        high: largest value there can be.
        level: coverage.
    """
    mean = float(values.mean())
    spread = (
        _quantile(len(values), level) * float(values.std(ddof=1)) / sqrt(len(values)) if len(values) > 1 else np.inf
    )
    return Interval(mean, max(low, mean - spread), min(high, mean + spread))


def of_ratio(first: _Floats, second: _Floats, *, level: float = 0.95) -> Interval | None:
    """Return the ratio of two means over the same items with Fieller's interval (Fieller 1954).

    None where the second mean is not shown to be above 0: the ratio would have no bounds.

    Args:
        first: [items].
        second: [items].
        level: coverage.
    """
    n = len(first)
    if n < 2:
        return None
    a, b, t = float(first.mean()), float(second.mean()), _quantile(n, level)
    (aa, ab), (_, bb) = np.cov(first, second) / n * t**2
    if not b > sqrt(bb):  # nor where one is nan
        return None
    # the ratios r with (a - r b)² <= t² var(a - r b): a quadratic inequality in r
    whole, half, rest = b**2 - bb, a * b - ab, a**2 - aa
    root = sqrt(max(0.0, half**2 - whole * rest))
    return Interval(a / b, (half - root) / whole, (half + root) / whole)


def jackknife(whole: float, without: _Floats) -> Interval:
    """Return a statistic of items with its bias removed, and a normal 95 % interval (Quenouille 1956, Tukey 1958).

    Args:
        whole: the statistic of all items.
        without: the statistic without each item, [items].
    """
    n = len(without)
    estimate = n * whole - (n - 1) * float(without.mean())
    spread = NormalDist().inv_cdf(0.975) * jackknife_error(without)
    return Interval(estimate, estimate - spread, estimate + spread)


def jackknife_error(without: _Floats) -> float:
    """Return the standard error of a statistic, from its values without each item, [items]."""
    n = len(without)
    return sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))


def _quantile(n: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.5 + level / 2))
