"""Intervals for rates."""

from math import sqrt
from statistics import NormalDist


def wilson(hits: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate (Wilson 1927), as fractions of 1.

    Args:
        hits: number of successes.
        n: number of trials; 0 gives the whole unit interval.
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
