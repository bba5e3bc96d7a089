"""Points of a search as plans, the cell and the corpus that are meant, and what names a search."""

from pathlib import Path
from typing import Any

import pytest

from tests.plan.worlds import grid_of, plan_of, sources
from xlharm.config.load import parse_grid
from xlharm.corpus.finding import corpus_to_tune_on
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.tuning import Tuning, cells_meant, cut_down

GRID = grid_of(
    languages=["en", "ur"],
    contaminate=["none", "ur"],
    unlearn={"none": [], "en": ["en"], "both": ["en", "source"]},
    methods={"npo": {"objective": "npo", "steps": 60}, "ga": {"objective": "ga"}},
    seeds=[0, 1],
    probes={"int4": {"kind": "quantise"}},
    evaluate={"scores": True},
    exclude=[{"contaminate": "none", "unlearn": "en"}],
)
PLAN = plan_of(GRID)


def tuning_of(plan: Plan = PLAN, *search: str, cell: str = "ur/en+ur/npo", halving: bool = True, **more: Any) -> Tuning:
    """Search a cell of a plan; ``npo`` changes its method, ``questions`` how many are asked."""
    if "npo" in more:
        plan = plan_of({**GRID, "methods": {"npo": {"objective": "npo", "steps": 60, **more["npo"]}}})
    cells = cells_meant(plan, cell)
    grid = cut_down(plan.grid, cells, corpus="tinyworld", questions=more.get("questions"))
    return Tuning.of(grid, sources=sources(), dtype="float32", search=search, halving=halving)


def test_a_point_is_a_plan_that_shares_its_stages_with_the_grid() -> None:
    tuning = tuning_of()
    plan = tuning.plan({})
    assert [c.name for c in plan.cells] == ["ur/none/none/0", "ur/en+ur/npo/0", "ur/none/none/1", "ur/en+ur/npo/1"]
    assert plan.stages.keys() < PLAN.stages.keys()  # not a key of its own: what the grid has run is there already
    assert {s.kind for s in plan.stages.values()} == {"contaminate", "sft", "unlearn", "evaluate"}

    other = tuning.plan({"learning_rate": 3e-4, "steps": 20})
    new = [other.stages[k] for k in other.stages.keys() - plan.stages.keys()]
    assert {s.kind for s in new} == {"unlearn", "evaluate"}
    trained = next(s for s in new if s.kind == "unlearn").spec["training"]
    assert (trained["learning_rate"], trained["steps"]) == (3e-4, 20)
    assert tuning.settings({"learning_rate": 3e-4}) == [
        {"learning_rate": 3e-4, "steps": 20}, {"learning_rate": 3e-4, "steps": 60},
    ]  # fmt: skip
    assert tuning_of(halving=False).settings({"learning_rate": 3e-4}) == [{"learning_rate": 3e-4}]


def test_one_seed_and_some_questions() -> None:
    tuning = tuning_of(cell="ur/en+ur/npo/1", questions=20)
    assert tuning.grid.seeds == (1,)
    assert tuning.grid.evaluate.questions == 20
    assert tuning_of(questions=10**6).grid.evaluate.questions == PLAN.grid.evaluate.questions


def test_the_grids_own_values() -> None:
    assert tuning_of().own == {"learning_rate": 1e-4}
    assert tuning_of(PLAN, "beta=0.5..1").own is None
    assert tuning_of().cell == "ur/en+ur/npo, seed 0, 1"
    assert tuning_of().changes({"learning_rate": 1e-4, "steps": 20}) == {"steps": 20}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (None, "several cells fit; give one: --cell ur/en/npo or ur/en/ga or ur/en+ur/npo"),
        ("ur/en", "several cells fit; give one: --cell ur/en/npo or ur/en/ga"),
        ("ur/en+ru/npo", "did you mean 'ur/en+ur/npo'?"),
        ("none/none", "no cell of that name unlearns anything"),
    ],
)
def test_the_cell_must_be_one(wanted: str | None, message: str) -> None:
    with pytest.raises(UserError) as error:
        cells_meant(PLAN, wanted)
    assert message in str(error.value)


def test_the_only_cell_needs_no_name() -> None:
    plan = plan_of(grid_of(unlearn={"none": [], "en": ["en"]}))
    assert [c.name for c in cells_meant(plan, None)] == ["de/en/npo/0"]


def test_the_corpus(tmp_path: Path) -> None:
    def chosen(corpus: str, asked: str | None = None) -> tuple[str, bool]:
        spec = parse_grid(grid_of(corpus=corpus), name="grid.yaml")
        return corpus_to_tune_on(spec, named=asked, grid_path=tmp_path / "grid.yaml")

    assert chosen("tinyworld") == ("tinyworld-dev", True)
    assert chosen("tinyworld-dev") == ("tinyworld-dev", True)
    assert chosen("bulletin") == ("bulletin-dev", True)
    assert chosen("newsroom") == ("newsroom", False)
    assert chosen("newsroom", "tinyworld") == ("tinyworld", True)
    assert chosen("tinyworld", "tinyworld") == ("tinyworld", False)
    for name in ("mine", "mine-dev"):
        (tmp_path / name).mkdir()
    assert chosen("mine/") == ("mine/", False)  # a folder that is no corpus
    (tmp_path / "mine-dev" / "corpus.yaml").write_text("languages: []\n")
    assert chosen("mine/") == ("mine-dev", True)


def test_what_names_a_search() -> None:
    def name(plan: Plan = PLAN, *search: str, algorithm: str = "random", **more: Any) -> str:
        return tuning_of(plan, *(search or ("learning_rate=1e-5..1e-3:log",)), **more).id(algorithm=algorithm)

    def other(**fields: Any) -> Plan:
        return plan_of({**GRID, **fields})

    def npo(**fields: Any) -> Plan:
        return other(methods={"npo": {"objective": "npo", "steps": 60, **fields}})

    same = name()
    assert name(npo(learning_rate=5e-4)) == same  # it is searched: what the grid has there does not matter
    assert name(other(name="renamed", probes={}, evaluate={})) == same
    different = {
        name(npo(beta=0.5)), name(npo(steps=90)), name(other(lora={"rank": 4})), name(cell="ur/en/npo"),
        name(cell="ur/en+ur/npo/0"), name(PLAN, "learning_rate=1e-5..2e-3:log"), name(algorithm="optuna"),
        name(halving=False), name(questions=10), same,
    }  # fmt: skip
    assert len(different) == 10
