from pathlib import Path

import pyarrow.compute as pc

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.results import GridResults
from xlharm.analysis.samples import MOST, Samples, per_measure, spaced
from xlharm.plan.build import Plan
from xlharm.store.store import Store


def test_the_same_spaced_questions_everywhere(plan: Plan, full: Store) -> None:
    samples = GridResults(plan, full).samples()
    assert len(samples) == 81
    asked = {tuple(s.item for s in each.of) for each in samples.values()}
    assert asked == {("m0", "m12", "m25", "m37", "m50", "m62", "m75", "m87")}


def test_places_are_spaced_evenly() -> None:
    assert spaced(3, most=8) == [0, 1, 2]
    assert spaced(0, most=8) == []
    assert spaced(16, most=8) == list(range(0, 16, 2))


def test_a_large_grid_shows_fewer_answers() -> None:
    small, large = plan_of(), plan_of(seeds=list(range(40)))
    assert per_measure(small) == MOST
    assert per_measure(large) == 1


def test_unreadable_rows_cost_only_the_answers(tmp_path: Path) -> None:
    plan, store = (
        plan_of(languages=["en"], contaminate=["none"], unlearn={"none": []}),
        Store(str(tmp_path)),
    )
    fill(plan, store, n=4)
    results = GridResults(plan, store)
    assert results.table.num_rows == 1
    (store.path("evaluate", plan.cells[0].evaluations["en"]) / "rows.parquet").write_bytes(b"no parquet")
    assert results.samples() == {}


def test_a_measure_without_questions_has_no_samples(plan: Plan, full: Store) -> None:
    table = GridResults(plan, full).rows(plan.cells[0].evaluations["en"])
    assert table is not None
    only_of = table.filter(pc.equal(table["measure"], "of"))
    samples = Samples.of_rows(only_of, each=3)
    assert samples is not None
    assert (len(samples.of), samples.qr) == (3, ())
    assert Samples.of_rows(only_of.drop_columns("answer"), each=3) is None
