import pyarrow as pa
import pytest

from xlharm.analysis.intervals import wilson
from xlharm.analysis.reading import Rate, Reading, Readings, highest, place, whole


def rate(hits: int, n: int = 100) -> Rate:
    low, high = wilson(hits, n)
    return Rate(value=100 * hits / n, low=100 * low, high=100 * high, n=n)


def reading(unlearn: str, *, of: int, qr: int = 90, degenerate: float = 0.0, query: str = "en") -> Reading:
    return Reading(
        contaminate="ur", unlearn=unlearn, method="none" if unlearn == "none" else "npo", seed=0, query=query,
        of=rate(of), qr=rate(qr), off_language=0.0, degenerate=degenerate,
    )  # fmt: skip


def readings(*found: Reading) -> Readings:
    return Readings({place(r): r for r in found})


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


def test_an_unfinished_table_has_no_readings() -> None:
    from xlharm.analysis.table import SCHEMA

    assert Readings.of_table(SCHEMA.empty_table()).by_place == {}


def test_nothing_is_rounded_twice() -> None:
    """51 of 100: the lower bound is 41.348, which two decimals and then one would make 41.4."""
    from xlharm.analysis.table import SCHEMA

    row = dict.fromkeys(SCHEMA.names, None) | {
        "n": 100,
        "of": 51.0,
        "of_lo": 41.35,
        "of_hi": 60.58,
        "n_qr": 0,
        "seed": 0,
    }
    (found,) = Readings.of_table(pa.Table.from_pylist([row], schema=SCHEMA)).by_place.values()
    assert found.of is not None
    assert f"{found.of.low:.1f}" == "41.3"
    assert found.qr is None
