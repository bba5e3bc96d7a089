"""Intervals of means and ratios by hand, and the jackknife of a mean, which is Student's standard error."""

import numpy as np
import pytest
from scipy import stats

from xlharm.analysis.mean_limits import jackknife, jackknife_error, of_mean, of_ratio

X = np.array([1.0, 2.0, 4.0, 5.0, 9.0])
Y = np.array([2.0, 3.0, 9.0, 8.0, 20.0])


def test_a_mean_has_students_interval() -> None:
    found = of_mean(X)
    expected = stats.t.interval(0.95, 4, loc=X.mean(), scale=stats.sem(X))
    assert found == pytest.approx((4.2, *expected))
    assert of_mean(X, low=1.0, high=5.0)[1:] == (1.0, 5.0)
    assert of_mean(X[:1], low=0.0, high=1.0) == (1.0, 0.0, 1.0)


def test_a_ratio_has_fiellers_interval() -> None:
    found = of_ratio(Y, X)
    assert found is not None
    assert found.estimate == pytest.approx(Y.sum() / X.sum())
    for limit in found[1:]:  # at a limit, Y - limit X is just refuted to have mean 0
        assert stats.ttest_1samp(Y - limit * X, 0).pvalue == pytest.approx(0.05)
    assert found.low < found.estimate < found.high


def test_a_ratio_to_what_may_be_nothing_is_none() -> None:
    assert of_ratio(X, X - 4) is None
    assert of_ratio(X, -X) is None
    assert of_ratio(X[:1], X[:1]) is None
    assert of_ratio(X, np.where(X > 5, np.nan, X)) is None


def test_a_ratio_of_the_same_is_one() -> None:
    assert of_ratio(X, X) == pytest.approx((1, 1, 1))


def test_the_jackknife_of_a_mean_and_of_a_biased_variance() -> None:
    without = np.array([np.delete(X, i).mean() for i in range(5)])
    assert jackknife_error(without) == pytest.approx(stats.sem(X))
    assert jackknife(float(X.mean()), without) == pytest.approx(
        (4.2, *stats.norm.interval(0.95, loc=4.2, scale=stats.sem(X)))
    )
    without = np.array([np.delete(X, i).var() for i in range(5)])
    assert jackknife(float(X.var()), without).estimate == pytest.approx(X.var(ddof=1))
