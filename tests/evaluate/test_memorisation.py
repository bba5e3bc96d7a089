"""Memorisation measures against values worked out by hand."""

from collections.abc import Callable
from math import inf, isnan, log

import pytest

from xlharm.evaluate.memorisation import (
    exact_memorisation,
    extraction_strength,
    min_k,
    min_k_plus_plus,
    probability,
    truth_ratio_forget,
    truth_ratio_tofu,
)

RIGHT = [log(0.5), log(0.5)]


def test_probability_is_a_geometric_mean() -> None:
    assert probability([log(0.9), log(0.4)]) == pytest.approx(0.6)  # √0.36
    assert probability([log(0.25)]) == pytest.approx(0.25)
    assert probability([0.0] * 5) == 1
    assert probability([-inf, log(0.5)]) == 0
    assert probability([-1e6]) == 0


def test_the_truth_ratio_takes_the_arithmetic_mean() -> None:
    wrong = [[log(0.1)], [log(0.4), log(0.4)]]
    assert truth_ratio_tofu(RIGHT, wrong) == pytest.approx(0.25 / 0.5)


def test_truth_ratio_identities() -> None:
    ratio = truth_ratio_tofu
    assert ratio(RIGHT, [RIGHT]) == 1
    assert ratio(RIGHT, [RIGHT, RIGHT * 3]) == pytest.approx(1)  # length does not count
    assert ratio(RIGHT, [[-inf], [-inf]]) == 0
    assert ratio([-inf], [RIGHT]) == inf
    assert isnan(ratio([-inf], [[-inf]]))
    assert isnan(ratio([float("nan")], [[-1.0]]))
    # probabilities below the smallest float still have a ratio
    assert ratio([-1000.0], [[-1000.0 + log(3)]]) == pytest.approx(3)
    assert ratio([-2000.0], [[-1.0]]) == inf


def test_one_impossible_wrong_answer() -> None:
    assert truth_ratio_tofu(RIGHT, [[-inf], [log(0.5)]]) == pytest.approx(0.5)


@pytest.mark.parametrize(("ratio", "forget"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (4.0, 0.25), (inf, 0.0)])
def test_the_score_of_a_ratio(ratio: float, forget: float) -> None:
    assert truth_ratio_forget(ratio) == forget


def test_an_undefined_ratio_stays_undefined() -> None:
    assert isnan(truth_ratio_forget(float("nan")))


def test_exact_memorisation() -> None:
    assert exact_memorisation([5, 6, 7, 8], [5, 0, 7, 8]) == 0.75
    assert exact_memorisation([1], [1]) == 1
    assert exact_memorisation([1], [2]) == 0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        exact_memorisation([1, 2], [1])


@pytest.mark.parametrize(
    ("correct", "strength"),
    [
        ([True] * 4, 1.0),
        ([False] * 4, 0.0),
        ([False, True, True, True], 0.75),
        ([True, False, True, True], 0.5),
        ([True, True, True, False], 0.0),  # the last token is never extracted
        ([False, False, False, True], 0.25),
        ([True], 1.0),
        ([False], 0.0),
    ],
)
def test_extraction_strength(correct: list[bool], strength: float) -> None:
    assert extraction_strength(correct) == strength


def test_min_k_takes_the_least_likely() -> None:
    logps = [-1.0, -9.0, -2.0, -3.0, -7.0, -1.5, -0.5, -0.1, -2.5, -4.0]
    assert min_k(logps) == pytest.approx(-8)  # the two lowest of ten
    assert min_k(logps, k=0.3) == pytest.approx(-20 / 3)
    assert min_k(logps, k=1) == pytest.approx(-3.06)
    assert min_k(logps, k=0.01) == -9  # one at least
    assert min_k([-3.0]) == -3
    assert min_k([-float(i) for i in range(100)], k=0.29) == pytest.approx(-85)  # 71 to 99, all 29 of them


def test_min_k_plus_plus_standardises_each_position() -> None:
    # z: 1, -2, 0, -1, 2
    logps, mean, std = [-1, -6, -2, -5, -1], [-2, -2, -2, -3, -4], [1, 2, 5, 2, 1.5]
    assert min_k_plus_plus(logps, mean, std) == pytest.approx(-2)
    assert min_k_plus_plus(logps, mean, std, k=0.4) == pytest.approx(-1.5)
    assert min_k_plus_plus(logps, [0] * 5, [1] * 5) == min_k(logps)


def test_min_k_plus_plus_without_spread() -> None:
    assert min_k_plus_plus([-2.0], [-2.0], [0.0]) == 0
    assert min_k_plus_plus([-3.0], [0.0], [0.0]) == -inf


@pytest.mark.parametrize(
    "call",
    [
        lambda: probability([]),
        lambda: truth_ratio_tofu(RIGHT, []),
        lambda: truth_ratio_tofu([], [RIGHT]),
        lambda: exact_memorisation([], []),
        lambda: extraction_strength([]),
        lambda: min_k([]),
        lambda: min_k([-1.0], k=0),
        lambda: min_k_plus_plus([-1.0], [-1.0, 2.0], [1.0]),
    ],
)
def test_nothing_to_measure(call: Callable[[], float]) -> None:
    with pytest.raises(ValueError, match=r"answer|tokens|share|means"):
        call()
