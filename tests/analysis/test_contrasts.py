"""Differences of rates: against published intervals, by hand, and against simulated models with known truth."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from tests.analysis.simulated import Truth, rejections
from xlharm.analysis.contrasts import Apart, Contrasts, Pair
from xlharm.analysis.intervals import wilson
from xlharm.analysis.items import Hits

_Floats = npt.NDArray[np.float64]


def pair(first: list[float], second: list[float] | None = None, *, weight: float = 1.0, seeds: int = 1) -> Pair:
    one = np.array([first] * seeds)
    asked = np.ones(one.shape[1])
    if second is None:
        return Pair(one, asked)
    return Pair(one, asked, np.array([second] * seeds), asked, weight)


def limits(*pairs: Pair, level: float = 0.975) -> list[tuple[float, float, float]]:
    contrasts = Contrasts.of(pairs)
    return list(zip(contrasts.estimate.tolist(), *(x.tolist() for x in contrasts.limits(level)), strict=True))


def of_counts(both: int, first: int, second: int, neither: int) -> Pair:
    ones = [1.0] * both + [1.0] * first + [0.0] * second + [0.0] * neither
    twos = [1.0] * both + [0.0] * first + [1.0] * second + [0.0] * neither
    return pair(ones, twos)


def test_one_rate_has_wilsons_limits() -> None:
    for hits in (0, 1, 10, 50):
        ((estimate, low, high),) = limits(pair([1.0] * hits + [0.0] * (50 - hits)))
        assert (estimate, low, high) == pytest.approx((hits / 50, *wilson(hits, 50)))


def test_paired_rates_are_near_newcombes_published_interval() -> None:
    """Newcombe 1998 (paired), table I, method 10: 36, 12, 2, 0 gives 0.0569 to 0.3404; two items more draw it in."""
    ((estimate, low, high),) = limits(of_counts(36, 12, 2, 0))
    assert estimate == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.0569, 0.3404), abs=0.025)


def test_no_difference_at_all_is_not_certain() -> None:
    for same in (0.0, 1.0, 0.5):
        ((estimate, low, high),) = limits(pair([same] * 50, [same] * 50))
        assert estimate == 0
        assert low < -0.03
        assert high > 0.03
    assert limits(pair([0.0] * 50, [0.0] * 50))[0][2] == pytest.approx(wilson(0, 50)[1], abs=0.002)


def test_p_is_where_the_limit_meets_the_threshold() -> None:
    contrasts = Contrasts.of([of_counts(36, 12, 2, 0), of_counts(10, 3, 4, 33)])
    p = contrasts.p_above(0.05)
    low, _ = contrasts.limits(1 - np.minimum(p, 0.4))
    assert low[0] == pytest.approx(0.05, abs=1e-6)
    assert p[1] == 1  # the estimate lies below the threshold
    _, high = contrasts.limits(1 - np.minimum(contrasts.p_below(0.1), 0.4))
    assert high[1] == pytest.approx(0.1, abs=1e-6)


def test_items_weigh_as_many_questions_as_they_have() -> None:
    first = Hits(("a", "b", "c"), np.array([3, 0, 1]), np.array([3, 1, 1]))
    second = Hits(("c", "b", "a"), np.array([0, 1, 0]), np.array([1, 1, 3]))
    both = Pair.of_hits([first], [second])
    assert both is not None
    assert Contrasts.of([both]).estimate.tolist() == [pytest.approx(4 / 5 - 1 / 5)]
    assert Pair.of_hits([first], [Hits(("d",), np.array([1]), np.array([1]))]) is None
    assert Pair.of_hits([]) is None


def test_seeds_that_differ_widen_and_seeds_that_agree_do_not_narrow_below_their_items() -> None:
    rng = np.random.default_rng(0)
    items = (rng.random(100) < 0.5).astype(float)
    ((_, low_1, high_1),) = limits(pair(items.tolist()))
    ((_, low_3, high_3),) = limits(pair(items.tolist(), seeds=3))
    assert (low_3, high_3) == pytest.approx((low_1, high_1))
    apart = Pair(np.stack([np.zeros(100), items, np.ones(100)]), np.ones(100))
    ((_, low, high),) = limits(apart)
    assert low < 0.1
    assert high > 0.9


def test_a_difference_is_surer_where_items_agree() -> None:
    same, apart = of_counts(20, 5, 0, 25), of_counts(0, 25, 20, 5)
    ((one, low_1, high_1), (two, low_2, high_2)) = limits(same, apart)
    assert one == two == pytest.approx(0.1)
    assert high_1 - low_1 < (high_2 - low_2) / 2


@pytest.mark.parametrize("truth", [Truth(after=0.2, control=0.1), Truth(after=0.2, control=0.1, seeds=3, between=0.5)])
def test_a_wrong_verdict_at_the_margin_comes_in_five_percent_at_most(truth: Truth) -> None:
    """1,500 draws: 5 % and 1.7 standard errors are 6 %."""
    below, above = rejections(truth, margin=0.1, trials=1500, seed=3)
    assert 0.005 < below < 0.06
    assert 0.005 < above < 0.06


def test_differences_of_other_items_are_joined_as_squares() -> None:
    ones = [np.array([[1.0] * k + [0.0] * (20 - k)]) for k in (12, 4, 10, 9)]
    first, second = (Contrasts.of([Pair(a, np.ones(20), b, np.ones(20))]) for a, b in (ones[:2], ones[2:]))
    both = Apart(first, second)
    assert both.estimate == pytest.approx([0.05 - 0.4])
    (low,), (high,) = both.limits()
    (low_1,), (high_1,) = first.limits()
    (low_2,), (high_2,) = second.limits()
    assert low == pytest.approx(-0.35 - math.hypot(0.05 - low_2, high_1 - 0.4))
    assert high == pytest.approx(-0.35 + math.hypot(high_2 - 0.05, 0.4 - low_1))
    # p is where a limit meets the threshold
    p = both.p_below(0.0)
    assert both.limits(1 - p)[1] == pytest.approx([0.0], abs=1e-6)
    assert both.p_above(0.0) == [1.0]
