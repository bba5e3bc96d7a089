"""Intervals for rates. The unit is the item: questions on one item are no independent evidence."""

from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from xlharm.analysis.items import Hits


def wilson(hits: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate (Wilson 1927), as fractions of 1.

    Args:
        hits: number of successes.
        n: number of independent trials, which need not be whole; 0 gives the whole unit interval.
        level: coverage.

    Raises:
        ValueError: hits below 0 or above n.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = hits / n
    centre = p + z * z / (2 * n)
    spread = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def clustered(counted: Hits, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a rate with its effective number of questions (Dean & Pagano 2015).

    The effective number is the number of questions over the design effect (Kish 1965), which is estimated from the
    items' hits and from two items more: one with only hits and one with none. Without them the few hits near 0 or 100 %
    would decide it, and at 0 and n hits it could not be estimated at all: with them the effective number is the number
    of items there. Where every item has one question this is Wilson's interval.

    Args:
        counted: hits and questions of each item.
        level: coverage.
    """
    n = int(counted.questions.sum())
    if n == 0:
        return wilson(0, 0, level=level)
    effective = n / design_effect(counted.hits, counted.questions)
    return wilson(effective * int(counted.hits.sum()) / n, effective, level=level)


def design_effect(hits: npt.NDArray[np.int64], questions: npt.NDArray[np.int64]) -> float:
    """Return by how much the variance of a rate exceeds that of as many independent questions; at least 1.

    Args:
        hits: of each item, [items].
        questions: of each item, [items].
    """
    n = int(questions.sum())
    each = n / len(questions)
    asked = n + 2 * each
    p = (int(hits.sum()) + each) / asked
    spread = float(((hits - p * questions) ** 2).sum()) + each**2 * ((1 - p) ** 2 + p**2)
    return max(1.0, spread / (asked * p * (1 - p)))
