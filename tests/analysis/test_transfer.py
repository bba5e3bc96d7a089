"""Transfer indices by hand; AUC against scikit-learn and Hanley & McNeil's own example."""

import pytest

from xlharm.analysis import transfer
from xlharm.analysis.transfer import (
    asymmetry_index,
    knowledge_separability,
    own_language,
    spill,
    spread_index,
)

MATRIX = {
    ("en", "en"): 80.0, ("en", "de"): 40.0, ("en", "zh"): 20.0,
    ("de", "en"): 30.0, ("de", "de"): 60.0,
    ("zh", "en"): 0.0, ("zh", "de"): 10.0, ("zh", "zh"): 50.0,
}  # fmt: skip


def test_diagonal_and_spill() -> None:
    assert own_language(MATRIX) == {"en": 80, "de": 60, "zh": 50}
    assert spill(MATRIX) == {"en": 30, "de": 30, "zh": 5}
    assert own_language({("en", "de"): 5.0}) == {}
    assert spill({("en", "en"): 5.0}) == {}


def test_asymmetry_index() -> None:
    assert asymmetry_index(MATRIX) == pytest.approx((10 + 20) / (70 + 20))  # en-de and en-zh; de-zh is unknown
    assert asymmetry_index({("a", "b"): 7.0, ("b", "a"): 7.0}) == 0
    assert asymmetry_index({("a", "b"): 7.0, ("b", "a"): 0.0, ("a", "c"): 0.0, ("c", "a"): 2.0}) == 1
    assert asymmetry_index({("a", "b"): 0.0, ("b", "a"): 0.0}) is None
    assert asymmetry_index({("a", "a"): 9.0}) is None


def test_spread_index() -> None:
    even = {("en", q): 12.5 for q in "abcd"}
    assert spread_index(even, "en") == pytest.approx(1)
    assert spread_index(even | {("en", q): 0.0 for q in "bcd"}, "en") == 0
    # shares 1/2, 1/4, 1/4: 1.5 bits of log2(3)
    assert spread_index({("en", "a"): 40.0, ("en", "b"): 20.0, ("en", "c"): 20.0}, "en") == pytest.approx(0.946395)
    # two of four, evenly: ln 2 / ln 4
    assert spread_index(even | {("en", "c"): 0.0, ("en", "d"): 0.0}, "en") == pytest.approx(0.5)
    assert spread_index({("en", "a"): 0.0, ("en", "b"): 0.0}, "en") is None
    assert spread_index({("en", "a"): 5.0}, "en") is None
    assert spread_index(even, "de") is None


def test_auc_agrees_with_scikit_learn() -> None:
    # the value of scikit-learn's roc_auc_score
    score = knowledge_separability([0.9, 0.8, 0.8, 0.4, 0.7], [0.1, 0.4, 0.8, 0.3])
    assert score.estimate == pytest.approx(0.825)
    assert 0 < score.low < 0.5 < score.estimate < score.high < 1


def test_standard_error() -> None:
    # without knowledge it is Mann and Whitney's exact one: variance (n + m + 1) / (12 n m)
    assert transfer._standard_error(0.5, 51, 58) ** 2 == pytest.approx(110 / (12 * 51 * 58))
    # by hand: Q1 = 2/3, Q2 = 0.71111; (0.16 + 9 · 0.0266667 + 9 · 0.0711111) / 100 = 0.0104
    assert transfer._standard_error(0.8, 10, 10) == pytest.approx(0.101980, abs=1e-6)


def test_limits_are_where_the_standard_error_ends() -> None:
    own, other = [i + 20 for i in range(51)], list(range(58))
    auc, low, high = knowledge_separability(own, other)
    assert (auc - low) == pytest.approx(1.959964 * transfer._standard_error(low, 51, 58), rel=1e-4)
    assert (high - auc) == pytest.approx(1.959964 * transfer._standard_error(high, 51, 58), rel=1e-4)
    mirrored = knowledge_separability([-x for x in own], [-x for x in other])
    assert mirrored.estimate == pytest.approx(1 - auc)


def test_auc_at_the_ends() -> None:
    apart = knowledge_separability([5, 6, 7], [1, 2, 3])
    assert (apart.estimate, apart.high) == (1, 1)
    assert 0.2 < apart.low < 0.9  # six items do not prove that all are told apart
    assert knowledge_separability([1, 2, 3], [5, 6, 7]).estimate == 0
    assert knowledge_separability([1, 1], [1, 1, 1]).estimate == 0.5
    assert knowledge_separability([1], [1]).estimate == 0.5
    assert knowledge_separability([2], [1]).low < 0.5
    more = knowledge_separability(list(range(100, 200)), list(range(100)))
    assert more.low > apart.low


def test_auc_needs_both_sides() -> None:
    with pytest.raises(ValueError, match="both sides"):
        knowledge_separability([], [1.0])
