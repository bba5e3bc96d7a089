from dataclasses import replace

import numpy as np
import pytest

from xlharm.analysis.intervals import wilson
from xlharm.analysis.items import Hits
from xlharm.analysis.reading import Rate, Reading, Readings, highest, place, whole


def rate(hits: int, n: int = 100) -> Rate:
    low, high = wilson(hits, n)
    return Rate(value=100 * hits / n, low=100 * low, high=100 * high, n=n, items=n)


def reading(unlearn: str, *, of: int, qr: int = 90, degenerate: float = 0.0, query: str = "en") -> Reading:
    return Reading(
        contaminate="ur", unlearn=unlearn, method="none" if unlearn == "none" else "npo", seed=0, query=query,
        of=rate(of), qr=rate(qr), off_language=0.0, degenerate=degenerate,
    )  # fmt: skip


def readings(*values: Reading) -> Readings:
    return Readings({place(r): r for r in values})


def test_a_model_is_compared_with_itself_before_unlearning() -> None:
    before, after = reading("none", of=50), reading("en", of=5)
    both = readings(before, after, reading("none", of=1, query="de"))
    assert both.before(after) is before
    assert both.before(before) is None
    assert readings(after).before(after) is None


@pytest.mark.parametrize(("qr", "damaged"), [(90, False), (72, False), (71, True), (0, True)])
def test_qr_that_fell_by_more_than_a_fifth_is_damage(qr: int, damaged: bool) -> None:
    after = reading("en", of=0, qr=qr)
    assert bool(readings(reading("none", of=50, qr=90), after).warnings(after)) is damaged


def test_looping_answers_are_damage_even_without_a_model_to_compare_with() -> None:
    assert readings(after := reading("en", of=0, degenerate=20.0)).warnings(after)
    assert not readings(after := reading("en", of=0, degenerate=19.9)).warnings(after)


@pytest.mark.parametrize(("of", "rise"), [(20, ""), (24, ""), (25, "maybe"), (50, "clear"), (0, "")])
def test_a_rise_is_clear_only_with_intervals_apart(of: int, rise: str) -> None:
    after = reading("en", of=of)
    assert readings(reading("none", of=20), after).rise(after) == rise


def test_the_highest_is_the_first_of_equals() -> None:
    first, second = reading("en", of=50), reading("en", of=50, query="de")
    assert highest([reading("none", of=1), first, second]) is first
    assert highest([]) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.2, "<1"), (0.5, "<1"), (1.4, "1"), (99.4, "99"), (99.7, ">99"), (100.0, "100")]
)
def test_rounding_never_makes_a_part_nothing_or_all(value: float, text: str) -> None:
    assert whole(value) == text


def test_several_seeds_are_damaged_where_one_of_them_is() -> None:
    values = [
        replace(reading(unlearn, of=40 if unlearn == "none" else 0, qr=qr), seed=seed)
        for unlearn, rates in (("none", {None: 90, 0: 90, 1: 90}), ("en", {None: 75, 0: 90, 1: 60}))
        for seed, qr in rates.items()
    ]
    known = Readings.of(values, seeds=(0, 1))
    assert known.warnings(values[3]) == ("seed 1: QR fell from 90 to 60",)
    assert known.warnings(values[4]) == ()


def test_a_rate_counts_questions_and_items() -> None:
    two_each = Hits(("a", "b", "c"), np.array([2, 1, 0]), np.array([2, 2, 2]))
    rate_of_two = Rate.of_hits(two_each)
    assert rate_of_two is not None
    assert (rate_of_two.value, rate_of_two.n, rate_of_two.items) == (50.0, 6, 3)
    assert Rate.of_hits(Hits((), np.array([], int), np.array([], int))) is None
