"""What a run may use."""

from datetime import UTC, datetime

import pytest

from xlharm.engine.limits import Budget, deadline_at
from xlharm.errors import UserError

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6h30m", 23400),
        ("90s", 90),
        ("1d1s", 86401),
        ("2026-11-24T12:30Z", 1800),
        ("2026-11-24T14:00+01:00", 3600),
    ],
)
def test_a_deadline_is_a_time_or_a_duration(text: str, seconds: float) -> None:
    assert deadline_at(text, now=NOW) == pytest.approx(NOW + seconds)


@pytest.mark.parametrize("text", ["", "soon", "6", "6 h", "h", "2026-13-01", "30m6h"])
def test_what_is_neither_is_a_mistake(text: str) -> None:
    with pytest.raises(UserError, match=r"--deadline .*: expected a duration \(6h30m\) or a time"):
        deadline_at(text, now=NOW)


def test_a_moment_that_is_over_is_a_mistake() -> None:
    with pytest.raises(UserError, match="this time has passed"):
        deadline_at("2026-11-24T11:59Z", now=NOW)


def test_hours_count_what_is_held() -> None:
    budget = Budget(hours=1.0, began=0.0)
    budget.tick(held=4, now=600.0)  # nothing was held before
    assert budget.used == 0
    assert budget.fits(900.0, kind="evaluate")  # 3600 seconds of four GPUs
    assert not budget.fits(901.0, kind="evaluate")
    budget.tick(held=2, now=1000.0)
    assert budget.used == 1600
    assert budget.fits(1000.0, kind="evaluate")
    assert not budget.fits(1001.0, kind="evaluate")
    budget.tick(held=2, now=1999.0)
    assert not budget.reached()
    budget.tick(held=0, now=2000.0)
    assert budget.reached()
    assert not budget.fits(0.1, kind="sft")
    assert budget.binding() == "--max-gpu-hours"


def test_a_stage_longer_than_the_whole_time_begins_all_the_same_where_it_can_go_on() -> None:
    budget = Budget(deadline=200.0, began=100.0)
    assert budget.fits(1e6, kind="contaminate")
    assert not budget.fits(1e6, kind="evaluate")  # it would begin anew each time
    budget.tick(held=1, now=150.0)
    assert not budget.fits(60.0, kind="contaminate")  # it ends within the next run's time
    assert budget.fits(101.0, kind="contaminate")
    assert budget.binding() == "--deadline"
    budget.tick(held=1, now=200.0)
    assert budget.reached()
    assert not budget.fits(101.0, kind="contaminate")


def test_without_a_limit_all_fits() -> None:
    budget = Budget()
    assert not budget.limited
    budget.tick(held=9, now=budget.began + 1e9)
    assert budget.fits(1e12, kind="evaluate")
    assert not budget.reached()
