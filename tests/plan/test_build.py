"""A grid becomes the right cells and shares the right stages."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plan.worlds import LANGUAGES, grid_of, plan_of, sources
from xlharm.config.load import parse_grid
from xlharm.plan import stage as stages
from xlharm.plan.build import build
from xlharm.plan.cost import differences
from xlharm.plan.digest import digest


def test_the_paper_shaped_grid_shares_its_prefixes() -> None:
    sets = {f"s{i}": [lang] for i, lang in enumerate(LANGUAGES[:7])} | {"source": ["source"]}
    plan = plan_of(grid_of(contaminate=list(LANGUAGES), unlearn={"none": [], **sets}))
    kinds = [s.kind for s in plan.stages.values()]
    # the sets s0…s6 hold the source of seven languages already
    assert (kinds.count("contaminate"), kinds.count("sft"), kinds.count("unlearn")) == (9, 9, 9 * 8 - 7)
    assert plan.naive["contaminate"] == len(plan.cells) == 9 * 9 - 7


def test_cells_are_named_in_the_grids_order() -> None:
    plan = plan_of(grid_of(contaminate=["none", "ur"], unlearn={"none": [], "both": ["source", "en"]}))
    assert [c.name for c in plan.cells] == ["none/none/none/0", "ur/none/none/0", "ur/en+ur/npo/0"]


def test_a_set_that_resolves_to_another_is_the_same_cell() -> None:
    plan = plan_of(grid_of(contaminate=["en"], unlearn={"en": ["en"], "source": ["source"], "both": ["en", "source"]}))
    assert [c.name for c in plan.cells] == ["en/en/npo/0"]


def test_the_clean_control_has_no_source() -> None:
    plan = plan_of(grid_of(contaminate=["none", "de"], unlearn={"none": [], "en": ["en"], "source": ["source"]}))
    assert [c.name for c in plan.cells if c.contaminate == "none"] == ["none/none/none/0", "none/en/npo/0"]


def test_excludes_take_cells_away() -> None:
    rule = [{"contaminate": "de", "unlearn": "en"}]
    plan = plan_of(grid_of(contaminate=["de", "ur"], unlearn={"none": [], "en": ["en"]}, exclude=rule))
    assert "de/en/npo/0" not in {c.name for c in plan.cells}
    assert plan.notes == ()


def test_a_rule_that_excludes_nothing_is_said_so() -> None:
    plan = plan_of(grid_of(unlearn={"none": [], "en": ["en"]}, exclude=[{"unlearn": "eng"}, {"contaminate": "none"}]))
    assert plan.cells == plan_of(grid_of(unlearn={"none": [], "en": ["en"]})).cells
    assert plan.notes == (
        "g: exclude.0 excludes nothing: the grid has no unlearn 'eng'; did you mean 'en'?",
        "g: exclude.1 excludes nothing: the grid has no contaminate 'none'",
    )


SETS = {
    "unlearn": {"none": [], "all": ["en", "ur", "sw", "es", "source"]},
    "stages": {"contaminate": {"real_languages": ["source", "sw"]}, "sft": {"languages": ["source"]}},
    "probes": {"relearn": {"kind": "relearn", "languages": ["ur", "en"]}},
    "contaminate": ["none", "de", "ur"],
}


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_languages_changes_no_key(seed: int) -> None:
    corpus = {name: f"digest of {name}" for name in ("sw", "es")}
    order = [*LANGUAGES, "sw", "es"]
    plans = []
    for languages in (order, random.Random(seed).sample(order, len(order))):
        grid = parse_grid(grid_of(languages=languages, **SETS), name="g")
        plans.append(build(grid, sources=sources(corpus=corpus), dtype="float32"))
    assert plans[0].stages.keys() == plans[1].stages.keys()
    assert [c.name for c in plans[0].cells] == [c.name for c in plans[1].cells]
    assert "de/en+de+ur+es+sw/npo/0" in {c.name for c in plans[0].cells}


def test_planning_digests_every_stage_of_a_cell_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its time grows with the number of stages alone."""
    counts = []
    for seeds in (1, 10):
        digests: list[object] = []
        monkeypatch.setattr(stages, "digest", lambda value, seen=digests: seen.append(value) or digest(value))
        plan = plan_of(grid_of(seeds=seeds, unlearn={"none": [], "en": ["en"]}, contaminate=["none", "de"]))
        counts.append(len(digests))
        assert len(digests) == sum(plan.naive.values())
    assert counts[1] == 10 * counts[0]


def test_growing_a_grid_keeps_what_it_had() -> None:
    small = plan_of(grid_of(contaminate=["de"], unlearn={"none": [], "en": ["en"]}))
    for grown in (
        grid_of(contaminate=["de", "ur"], unlearn={"none": [], "en": ["en"]}),
        grid_of(contaminate=["de"], unlearn={"none": [], "en": ["en"], "de": ["de"]}),
        grid_of(contaminate=["de"], unlearn={"none": [], "en": ["en"]}, seeds=[0, 1]),
    ):
        assert set(small.stages) < set(plan_of(grown).stages)
    fewer = grid_of(contaminate=["de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "de"])
    assert set(plan_of(fewer).stages) < set(small.stages)


@pytest.mark.parametrize(
    ("path", "value", "kinds"),
    [
        ("stages.contaminate.learning_rate", 0.5, {"contaminate", "sft", "unlearn", "evaluate"}),
        ("stages.sft.steps", 99, {"sft", "unlearn", "evaluate"}),
        ("methods.npo.beta", 0.9, {"unlearn", "evaluate"}),
        ("evaluate.max_new_tokens", 3, {"evaluate"}),
        ("seeds", [7], {"contaminate", "sft", "unlearn", "evaluate"}),
        ("lora.rank", 8, {"contaminate", "sft", "unlearn", "evaluate"}),
        ("dtype", None, set()),
        ("name", "other", set()),
    ],
)
def test_a_change_moves_the_keys_of_what_it_changes(path: str, value: Any, kinds: set[str]) -> None:
    base = grid_of(contaminate=["de"], unlearn={"en": ["en"]})
    changed = grid_of(contaminate=["de"], unlearn={"en": ["en"]})
    *folders, leaf = path.split(".")
    at = changed
    for folder in folders:
        at = at.setdefault(folder, {})
    if value is None:
        at.pop(leaf, None)
    else:
        at[leaf] = value
    before, after = plan_of(base), plan_of(changed)
    assert {s.kind for k, s in after.stages.items() if k not in before.stages} == kinds


def test_data_and_base_are_part_of_the_key() -> None:
    spec = parse_grid(grid_of(contaminate=["de"], unlearn={"none": []}), name="g")
    before = build(spec, sources=sources(), dtype="float32")
    for changed in (sources(base="other"), sources(corpus={"de": "other"})):
        after = build(spec, sources=changed, dtype="float32")
        assert not {k for k, s in before.stages.items() if s.kind != "evaluate"} & set(after.stages)
    other_language = build(spec, sources=sources(corpus={"ha": "other"}), dtype="float32")
    assert {s.label for k, s in other_language.stages.items() if k not in before.stages} == {
        "evaluate ha of sft de seed 0"
    }
    assert not set(build(spec, sources=sources(), dtype="bfloat16").stages) & set(before.stages)


def test_differences_name_the_field() -> None:
    old = plan_of(grid_of(contaminate=["de"], unlearn={"none": []}))
    new = plan_of(grid_of(contaminate=["de"], unlearn={"none": []}, stages={"contaminate": {"learning_rate": 0.5}}))
    one, other = next(iter(new.stages.values())), next(iter(old.stages.values()))
    assert differences(one, other.identity()) == ["spec.training.learning_rate: 0.0002 -> 0.5"]


languages = st.lists(st.sampled_from(LANGUAGES), min_size=1, max_size=4, unique=True)


@given(
    contaminate=languages,
    sets=st.lists(st.lists(st.sampled_from([*LANGUAGES, "source"]), max_size=3, unique=True), min_size=1, max_size=5),
    seeds=st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True),
)
def test_any_grid_is_a_tree_with_parents_first(contaminate: list[str], sets: list[list[str]], seeds: list[int]) -> None:
    named = {f"s{i}": langs for i, langs in enumerate(sets)}
    plan = plan_of(grid_of(contaminate=contaminate, unlearn=named, seeds=seeds))
    keys: set[str] = set()
    for key, stage in plan.stages.items():
        assert key == stage.key
        assert set(stage.inputs) <= keys
        keys.add(key)
    assert len({c.name for c in plan.cells}) == len(plan.cells)
    needed = {k for c in plan.cells for k in (*c.lineage, *c.evaluations.values())}
    assert needed == set(plan.stages)
