"""Estimates of a plan, and what is kept of a run for the next one."""

from pathlib import Path

import pytest

from tests.engine.worlds import PLAN, commit
from xlharm.engine.estimates import clocks_of, corrected, expected_seconds, remember, remember_rates
from xlharm.store.store import Store

CLOCKS = clocks_of(PLAN)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_plan_without_measurements_is_computed_from_sizes(tmp_path: Path) -> None:
    clock, basis, device = corrected(CLOCKS, PLAN, Store(str(tmp_path / "store")))
    assert (clock.factors, basis, device) == ({}, "sizes", "cpu")
    seconds = expected_seconds(PLAN, clock, pack=3)
    assert seconds.keys() == PLAN.stages.keys()
    assert min(seconds.values()) > 0


def test_what_a_store_measured_is_remembered_for_other_stores(tmp_path: Path) -> None:
    store, other = Store(str(tmp_path / "store")), Store(str(tmp_path / "other"))
    stage = next(s for s in PLAN.stages.values() if s.kind == "contaminate")
    commit(store, stage, seconds=1000.0)
    clock, basis, _ = corrected(CLOCKS, PLAN, store)
    assert basis == "store"
    assert clock.seconds(stage, slots=1) == pytest.approx(1000.0)
    remember(CLOCKS, PLAN, store)
    clock, basis, _ = corrected(CLOCKS, PLAN, other)
    assert basis == "machine"
    assert clock.seconds(stage, slots=1) == pytest.approx(1000.0, rel=1e-2)


@pytest.mark.parametrize("content", ["[]", "junk", '{"base": 3}', '{"base": {"cpu": {"contaminate": "x"}}}'])
def test_a_damaged_cache_is_no_cache(tmp_path: Path, content: str) -> None:
    (tmp_path / "cache" / "xlharm").mkdir(parents=True)
    (tmp_path / "cache" / "xlharm" / "rates.json").write_text(content)
    assert corrected(CLOCKS, PLAN, Store(str(tmp_path / "store")))[1] == "sizes"


def test_a_start_is_remembered_for_a_base_and_a_type_of_device(tmp_path: Path) -> None:
    store, base = Store(str(tmp_path / "store")), PLAN.sources.base
    computed = corrected(CLOCKS, PLAN, store)[0].start
    assert computed > 0
    remember(CLOCKS, PLAN, store, start=33.0)  # nothing was measured: nothing ran
    assert corrected(CLOCKS, PLAN, store)[0].start == computed
    remember_rates(base, "cuda", factors={"evaluate": 2.0}, start=44.0)
    assert corrected(CLOCKS, PLAN, store)[0].start == computed
    commit(store, next(s for s in PLAN.stages.values() if s.kind == "contaminate"), seconds=1000.0)
    remember(CLOCKS, PLAN, store, start=33.0)
    for where, basis in ((store, "store"), (Store(str(tmp_path / "other")), "machine")):
        clock, found, _ = corrected(CLOCKS, PLAN, where)
        assert (clock.start, found) == (33.0, basis)


def test_rates_of_one_kind_leave_those_of_others(tmp_path: Path) -> None:
    base, store = PLAN.sources.base, Store(str(tmp_path / "store"))
    remember_rates(base, "cpu", factors={"evaluate": 2.0}, start=5.0)
    remember_rates(base, "cpu", factors={"unlearn": 3.0})
    clock, basis, _ = corrected(CLOCKS, PLAN, store)
    assert (clock.factors, clock.start, basis) == ({"evaluate": 2.0, "unlearn": 3.0}, 5.0, "machine")
