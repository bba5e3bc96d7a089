"""Differences of two rates over the same items and seeds: limits, p-values, and what it takes to decide.

A rate is the mean of a table of shares, [seeds, items], with a weight for each item (its number of questions). Its
variance has a part between items and a part between seeds: both are resampled by whoever repeats a study. The limits of
a difference are built from Wilson's limits of the two rates (Newcombe 1998, method 10; Zou & Donner 2008), so they are
right where a rate is 0 or 1, and never of width 0:

- Between items: the variance of the items' means over seeds, estimated with two items more than there are, one at
  which the first rate is 1 and the second 0, and one the other way round (as Agresti & Min 2005).
- Between seeds: the variance of the seeds' means, without the part that items cause (of which at most half is taken
  off: an estimate near 0 from a few seeds is no evidence of no variance), and with Student's quantile for seeds - 1
  degrees of freedom. The two parts are added as squares (Cochran 1950). With one seed this part is unknown:
  the limits hold for the models at hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from xlharm.analysis.items import Hits, common
from xlharm.analysis.statistics import Interval

_Floats = npt.NDArray[np.float64]
_HALVINGS = 44  # of an interval of p-values: more digits than a float near 1 keeps
_RATIO_HALVINGS = 40
MOST_RATIO = 1000.0
_TINY = 1e-12
_CHUNK = 2**21  # numbers at a time


@dataclass(frozen=True)
class Contrasts:
    """Differences ``first - weight * second`` of rates, as arrays of equal length.

    Attributes:
        first: the first rate, 0 to 1.
        second: the second; 0 where there is only one.
        weight: of the second; 0 where there is only one.
        seeds: number of seeds.
        items: number of items.
        first_items, second_items, both_items: variances between items, of the rates and of the difference.
        first_seeds, second_seeds, both_seeds: variances between seeds.
        first_spread, second_spread: p (1 - p) of the rates with the two items more.
    """

    first: _Floats
    second: _Floats
    weight: _Floats
    seeds: _Floats
    items: _Floats
    first_items: _Floats
    second_items: _Floats
    both_items: _Floats
    first_seeds: _Floats
    second_seeds: _Floats
    both_seeds: _Floats
    first_spread: _Floats
    second_spread: _Floats

    @classmethod
    def of(cls, pairs: Sequence["Pair"]) -> Self:
        """Compute the moments of pairs of tables, those of one shape together."""
        shapes: dict[tuple[bool, tuple[int, ...]], list[int]] = {}
        for i, pair in enumerate(pairs):
            shapes.setdefault((pair.second is None, pair.first.shape), []).append(i)
        moments = np.empty((len(fields(cls)), len(pairs)))
        for (_, (seeds, items)), places in shapes.items():
            most = max(1, _CHUNK // (seeds * items))
            for start in range(0, len(places), most):
                chunk = places[start : start + most]
                moments[:, chunk] = _moments([pairs[i] for i in chunk])
        return cls(*moments)

    @property
    def estimate(self) -> _Floats:
        """``first - weight * second``."""
        return self.first - self.weight * self.second

    def limits(self, level: npt.ArrayLike = 0.975) -> tuple[_Floats, _Floats]:
        """Return the lower and the upper limit, each with one-sided confidence ``level`` (above 0.5)."""
        from scipy.special import ndtri, stdtrit

        level = np.broadcast_to(np.asarray(level, dtype=np.float64), self.first.shape)
        z = ndtri(level)
        t = np.where(self.seeds > 1, stdtrit(np.maximum(self.seeds - 1, 1), level), 0.0)
        wider = (t / z) ** 2
        one = self.first_items + wider * self.first_seeds
        two = self.second_items + wider * self.second_seeds
        both = self.both_items + wider * self.both_seeds
        share = self.items / (self.items + 2)
        low_1, high_1 = _wilson(self.first, share * self.first_spread / one, z)
        low_2, high_2 = _wilson(self.second, share * np.maximum(self.second_spread, _TINY) / np.maximum(two, _TINY), z)
        w = np.maximum(self.weight, _TINY)
        together = (one + w**2 * two - both) / (2 * w * np.sqrt(one * np.maximum(two, _TINY)))
        together = np.clip(together, -1.0, 1.0) * (self.weight > 0)
        down = _joined(self.first - low_1, self.weight * (high_2 - self.second), together)
        up = _joined(high_1 - self.first, self.weight * (self.second - low_2), together)
        # Wilson's limits of few effective items draw together, and a difference of two that go together with them
        least = z * np.sqrt(both) * (self.weight > 0)
        return self.estimate - np.maximum(down, least), self.estimate + np.maximum(up, least)

    def p_above(self, threshold: npt.ArrayLike) -> _Floats:
        """Return one-sided p-values against "the difference is not above the threshold"."""
        return self._p(np.asarray(threshold, dtype=np.float64), lower=True)

    def p_below(self, threshold: npt.ArrayLike) -> _Floats:
        """Return one-sided p-values against "the difference is not below the threshold"."""
        return self._p(np.asarray(threshold, dtype=np.float64), lower=False)

    def _p(self, threshold: _Floats, *, lower: bool) -> _Floats:
        return p_value(self.limits, self.estimate, threshold, lower=lower)


@dataclass(frozen=True)
class Apart:
    """Differences of two differences that are of other items: ``second - first``, with the limits of both joined."""

    first: Contrasts
    second: Contrasts

    @property
    def estimate(self) -> _Floats:
        """The second difference minus the first."""
        return self.second.estimate - self.first.estimate

    def limits(self, level: npt.ArrayLike = 0.975) -> tuple[_Floats, _Floats]:
        """Return the lower and the upper limit, each with one-sided confidence ``level`` (Zou & Donner 2008)."""
        low_1, high_1 = self.first.limits(level)
        low_2, high_2 = self.second.limits(level)
        one, two = self.first.estimate, self.second.estimate
        down = np.hypot(two - low_2, high_1 - one)
        up = np.hypot(high_2 - two, one - low_1)
        return self.estimate - down, self.estimate + up

    def p_above(self, threshold: float) -> _Floats:
        """Return one-sided p-values against "the difference is not above the threshold"."""
        return p_value(self.limits, self.estimate, np.asarray(threshold), lower=True)

    def p_below(self, threshold: float) -> _Floats:
        """Return one-sided p-values against "the difference is not below the threshold"."""
        return p_value(self.limits, self.estimate, np.asarray(threshold), lower=False)


def p_value(
    limits: Callable[[_Floats], tuple[_Floats, _Floats]], estimate: _Floats, threshold: _Floats, *, lower: bool
) -> _Floats:
    """Find the level at which a limit meets the threshold; p is 1 minus it, and 1 on the wrong side.

    Args:
        limits: returns the lower and the upper limits at one-sided levels.
        estimate: what the limits are of.
        threshold: to be met.
        lower: whether by the lower limit, or by the upper one.
    """
    distance = (estimate - threshold) * (1 if lower else -1)
    # bisect on log p, from 0.5 down to what floats can tell from 1
    small, large = np.full(estimate.shape, np.log(1e-15)), np.full(estimate.shape, np.log(0.5))
    for _ in range(_HALVINGS):
        middle = (small + large) / 2
        low, high = limits(1 - np.exp(middle))
        clear = (low > threshold) if lower else (high < threshold)
        large, small = np.where(clear, middle, large), np.where(clear, small, middle)
    p: _Floats = np.exp(large)
    return np.where(distance > 0, p, 1.0)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two tables of shares over the same items and seeds, [seeds, items], and how much the second counts.

    Attributes:
        first: shares of hits, 0 to 1.
        second: the same of the second; None for a rate alone.
        weight: of the second, above 0.
        first_questions: number of questions of each item, [items]; the items' weights.
        second_questions: the same of the second.
    """

    first: _Floats
    first_questions: _Floats
    second: _Floats | None = None
    second_questions: _Floats | None = None
    weight: float = 1.0

    @classmethod
    def of_hits(cls, first: Sequence[Hits], second: Sequence[Hits] = (), *, weight: float = 1.0) -> Self | None:
        """Pair evaluations seed by seed, on the items that all of them have; None when there is none.

        Args:
            first: the hits of each seed.
            second: the same of the second, with as many seeds; none for a rate alone.
            weight: of the second.
        """
        if not first:
            return None
        shared = common(*first, *second)
        if not shared[0]:
            return None
        one, two = shared[: len(first)], shared[len(first) :]
        tables = [
            np.stack([hits.shares for hits in some]) if len(some) > 1 else some[0].shares[None]
            for some in (one, two)
            if some
        ]
        asked = [some[0].questions.astype(np.float64) for some in (one, two) if some]
        if not two:
            return cls(tables[0], asked[0])
        return cls(tables[0], asked[0], tables[1], asked[1], weight)


def ratios(pairs: Sequence[Pair], *, level: float = 0.975) -> list[Interval]:
    """Return the first rate over the second of each pair, and the ratios that are not refuted (Fieller 1954).

    A ratio of which neither limit can be told is 0 to ``MOST_RATIO``.

    Args:
        pairs: with a second rate each, above 0 somewhere; their weights do not matter.
        level: one-sided confidence of each limit.
    """
    if not pairs:
        return []
    estimate = Contrasts.of([replace(pair, weight=1.0) for pair in pairs])
    ratio = estimate.first / np.maximum(estimate.second, _TINY)

    def refuted(ratios: _Floats) -> npt.NDArray[np.bool_]:
        low, high = Contrasts.of(
            [replace(pair, weight=weight) for pair, weight in zip(pairs, ratios.tolist(), strict=True)]
        ).limits(level)
        return (low > 0) | (high < 0)

    limits = []
    for outside in (1e-6, MOST_RATIO):
        inside, far = ratio, np.full_like(ratio, outside)
        for _ in range(_RATIO_HALVINGS):
            middle = (inside + far) / 2
            out = refuted(middle)
            inside, far = np.where(out, inside, middle), np.where(out, middle, far)
        limits.append(np.where(inside < 1e-5, 0.0, inside))
    return [Interval(*row) for row in np.stack([ratio, *limits], axis=1).tolist()]


def _moments(pairs: Sequence[Pair]) -> _Floats:
    """Return what ``Contrasts`` holds of pairs of one shape, in the order of its fields, [fields, pairs]."""
    first = np.stack([pair.first for pair in pairs])  # [pairs, seeds, items]
    _, seeds, items = first.shape
    p, e = _deviations(first, np.stack([pair.first_questions for pair in pairs]))
    q, f, weight = np.zeros_like(p), np.zeros_like(e), np.zeros_like(p)
    if pairs[0].second is not None:
        second = np.stack([pair.second for pair in pairs if pair.second is not None])
        q, f = _deviations(second, np.stack([x.second_questions for x in pairs if x.second_questions is not None]))
        weight = np.array([pair.weight for pair in pairs])
    one, two = _with_two_more(p, e, (1.0, 0.0)), _with_two_more(q, f, (0.0, 1.0))
    between = [_between_items(x) for x in (one, two * (weight > 0)[:, None], one - weight[:, None] * two)]
    over = [_between_seeds(x) for x in (e, f, e - weight[:, None, None] * f)]
    more = [(items * rate + 1) / (items + 2) for rate in (p, q)]
    sizes = (np.full_like(p, seeds), np.full_like(p, items))
    return np.stack([p, q, weight, *sizes, *between, *over, *(x * (1 - x) for x in more)])


def _deviations(table: _Floats, questions: _Floats) -> tuple[_Floats, _Floats]:
    """Return rates [pairs], and each entry's part in their deviations (linearised ratio of hits to questions).

    Args:
        table: shares of hits, [pairs, seeds, items].
        questions: of each item, [pairs, items].
    """
    weights = (questions / questions.mean(1, keepdims=True))[:, None]
    rates = (table * weights).mean((1, 2))
    return rates, (table - rates[:, None, None]) * weights


def _with_two_more(rates: _Floats, deviations: _Floats, more: tuple[float, float]) -> _Floats:
    """Return the items' deviations from the rate that there is with two items more, [pairs, items + 2]."""
    items = deviations.shape[2]
    values = deviations.mean(1) + rates[:, None]
    added = np.broadcast_to(np.array(more), (len(rates), 2))
    with_more = (items * rates + 1) / (items + 2)
    around: _Floats = np.concatenate([values, added], axis=1) - with_more[:, None]
    return around


def _between_items(deviations: _Floats) -> _Floats:
    return np.asarray((deviations**2).sum(1) / deviations.shape[1] ** 2)


def _between_seeds(deviations: _Floats) -> _Floats:
    """Return the variances of the means that seeds cause, [pairs]; 0 for one seed, which cannot show it."""
    _, seeds, items = deviations.shape
    if seeds < 2:
        return np.zeros(len(deviations))
    by_seed, by_item = deviations.mean(2, keepdims=True), deviations.mean(1, keepdims=True)
    rest = deviations - by_seed - by_item + deviations.mean((1, 2), keepdims=True)
    between = by_seed[:, :, 0].var(1, ddof=1) / seeds
    noise = (rest**2).sum((1, 2)) / ((seeds - 1) * max(items - 1, 1)) / (seeds * items)
    kept: _Floats = np.maximum(between - noise, between / 2)
    return kept


def _wilson(p: _Floats, n: _Floats, z: _Floats) -> tuple[_Floats, _Floats]:
    centre, scale = p + z**2 / (2 * n), 1 + z**2 / n
    spread = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.maximum(0.0, (centre - spread) / scale), np.minimum(1.0, (centre + spread) / scale)


def _joined(one: _Floats, two: _Floats, together: _Floats) -> _Floats:
    return np.sqrt(np.maximum(0.0, one**2 - 2 * together * one * two + two**2))
