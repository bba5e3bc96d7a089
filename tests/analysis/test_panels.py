import shutil
from pathlib import Path

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.panels import groups, groups_of
from xlharm.analysis.reading import Readings
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.store.record import Failure
from xlharm.store.store import Store

NOTHING = Readings({})


def test_a_panel_for_each_set_those_before_unlearning_first(plan: Plan, full: Store) -> None:
    (group,) = groups_of(plan, GridResults(plan, full).readings)
    assert [p.title for p in group.panels] == [
        "Before unlearning",
        "After unlearning English",
        "After unlearning the contaminating language",
        "After unlearning English + the contaminating language",
    ]
    before, english, source, _ = group.panels
    assert [row.cell.name if row.cell else None for row in before.rows] == [
        "none/none/none/0",
        "de/none/none/0",
        "ur/none/none/0",
    ]
    assert [row.cell.name if row.cell else None for row in english.rows] == [None, "de/en/npo/0", "ur/en/npo/0"]
    assert [row.cell.name if row.cell else None for row in source.rows] == [None, "de/de/npo/0", "ur/ur/npo/0"]


def test_squares_know_their_own_and_their_unlearned_language(plan: Plan, full: Store) -> None:
    (group,) = groups_of(plan, GridResults(plan, full).readings)
    urdu = group.panels[3].rows[2].spots
    assert [s.query for s in urdu if s.own] == ["ur"]
    assert [s.query for s in urdu if s.unlearned] == ["en", "ur"]
    assert all(s.before and s.before.unlearn == "none" for s in urdu)
    assert {s.rise for s in group.panels[1].rows[2].spots} == {"", "maybe"}


def test_missing_and_absent_are_told_apart(plan: Plan, partial: Store) -> None:
    (group,) = groups_of(plan, GridResults(plan, partial).readings)
    assert {s.state for s in group.panels[0].rows[2].spots} == {"missing"}  # Urdu is planned, not done
    assert {s.state for s in group.panels[1].rows[0].spots} == {"absent"}  # the control unlearns nothing
    assert [s.query for s in group.panels[3].rows[1].spots if s.state == "missing"] == ["hy"]


def test_every_method_and_seed_has_its_group() -> None:
    plan = plan_of(methods={"npo": {"objective": "npo"}, "ga": {"objective": "ga"}}, seeds=[0, 1])
    panels = groups_of(plan, NOTHING)
    assert [(g.seed, g.method) for g in panels] == [(seed, m) for seed in (None, 0, 1) for m in ("npo", "ga")]
    assert groups_of(plan, NOTHING, seeds=(None,)) == panels[:2]
    shown = {row.cell.name for g in panels for p in g.panels for row in p.rows if row.cell}
    assert shown == {cell.name for cell in plan.cells}


def test_a_grid_without_unlearning_has_one_panel() -> None:
    plan = plan_of(unlearn={"none": []}, methods={})
    (group,) = groups_of(plan, NOTHING)
    assert [p.title for p in group.panels] == ["Before unlearning"]


def test_source_that_names_a_set_already_there_shows_the_same_cell() -> None:
    plan = plan_of(contaminate=["en"], unlearn={"none": [], "en": ["en"], "source": ["source"]})
    (group,) = groups_of(plan, NOTHING)
    assert [p.rows[0].cell and p.rows[0].cell.name for p in group.panels] == [
        "en/none/none/0",
        "en/en/npo/0",
        "en/en/npo/0",
    ]


def test_a_square_names_the_stage_that_failed(tmp_path: Path) -> None:
    plan, store = (
        plan_of(languages=["en"], contaminate=["de"], unlearn={"none": [], "en": ["en"]}),
        Store(str(tmp_path)),
    )
    fill(plan, store, skip=("de/en",), n=4)
    failed = plan.stages[plan.cell("de/en").model]
    shutil.rmtree(store.path("unlearn", failed.key))
    store.write_failure(
        Failure(
            key=failed.key, kind="unlearn", label=failed.label, reason="nan", message="loss", final=True, failed="now"
        )
    )
    before, after = groups(GridResults(plan, store))[0].panels
    assert (before.rows[0].spots[0].why, before.rows[0].spots[0].state) == ("", "done")
    assert (after.rows[0].spots[0].why, after.rows[0].spots[0].state) == (f"{failed.label} failed: nan", "missing")


def test_long_sets_are_named_by_their_codes() -> None:
    plan = plan_of(unlearn={"none": [], "many": ["en", "de", "fr", "source"]})
    assert groups_of(plan, NOTHING)[0].panels[1].words == "en + de + fr + the contaminating language"
