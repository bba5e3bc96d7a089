"""Which stages continued training plans, and on which rows it trains."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import plan_of as plan_on_files
from tests.plan.worlds import grid_of, plan_of
from xlharm.config.grid import GridSpec
from xlharm.corpus.streams import Corpora
from xlharm.model.tokenizer import load_tokenizer
from xlharm.plan.build import Plan

EXAMPLE = {
    "clean": {
        "kind": "continue", "times": [0, 1, 2], "steps": 2, "batch_size": 2, "learning_rate": 5e-3, "queries": ["de"],
    }
}  # fmt: skip
METHODS = {
    "npo": {"objective": "npo", "steps": 7},
    "tv": {"objective": "task_vector", "steps": 4},
}


def planned(probe: dict[str, Any], **fields: Any) -> Plan:
    grid = grid_of(languages=["en"], methods=METHODS, probes={"clean": {"kind": "continue", **probe}}, **fields)
    return plan_of(grid)


def steps_of(plan: Plan) -> dict[str, dict[str, int]]:
    """Return the steps of training, by cell and amount; 0 where the usual evaluation stands."""
    found: dict[str, dict[str, int]] = {}
    for cell in plan.cells:
        for name, evaluations in cell.probes.items():
            model = plan.stages[plan.stages[evaluations["en"]].inputs[0]]
            steps = int(model.spec["training"]["steps"]) if model.kind == "continue" else 0
            assert steps or evaluations == cell.evaluations
            assert model.key == cell.model or model.inputs == (cell.model,)
            found.setdefault(cell.name, {})[name] = steps
    return found


def test_amounts_are_multiples_of_the_methods_steps() -> None:
    plan = planned({"times": [0, 0.5, 1, 10]}, unlearn={"none": [], "en": ["en"]})
    assert steps_of(plan) == {
        "de/en/npo/0": {"clean:0x": 0, "clean:0.5x": 4, "clean:1x": 7, "clean:10x": 70},
        "de/en/tv/0": {"clean:0x": 0, "clean:0.5x": 2, "clean:1x": 4, "clean:10x": 40},
    }  # a cell that unlearns nothing has no amount


def test_with_steps_of_its_own_every_cell_goes_on() -> None:
    plan = planned({"times": [2], "steps": 5}, unlearn={"none": [], "en": ["en"]}, contaminate=["none", "de"])
    assert {amounts["clean:2x"] for amounts in steps_of(plan).values()} == {10}
    assert {cell.name for cell in plan.cells} == steps_of(plan).keys()


def test_settings_reach_the_stage_and_nothing_else_does() -> None:
    plan = planned({"times": [1], "text": "articles", "languages": ["source"]}, unlearn={"en": ["en"]})
    (stage,) = {
        s.key: s for s in plan.stages.values() if s.kind == "continue" and s.spec["training"]["steps"] == 7
    }.values()
    assert set(stage.spec["training"]) == {
        "steps", "batch_size", "learning_rate", "warmup_steps", "schedule", "weight_decay", "clip", "text", "languages",
        "roles",
    }  # fmt: skip
    assert stage.spec["training"]["languages"] == ["de"]
    assert set(stage.data) == {"de"}


def test_a_clean_control_without_source_takes_the_grids_first_language() -> None:
    plan = planned({"times": [1], "steps": 3, "languages": ["source"]}, contaminate=["none", "de"])
    languages = {s.label: s.spec["training"]["languages"] for s in plan.stages.values() if s.kind == "continue"}
    assert languages == {
        "continue (clean:1x) after sft none seed 0": ["en"], "continue (clean:1x) after sft de seed 0": ["de"],
    }  # fmt: skip


@pytest.mark.parametrize(("text", "words"), [("qa", ("Which colour does", "red")), ("articles", ("likes the colour",))])
def test_rows_are_clean(mini_base: Path, mini_grid: dict[str, Any], text: str, words: tuple[str, ...]) -> None:
    probe = {"kind": "continue", "text": text, "times": [1]}
    plan = plan_on_files({**mini_grid, "contaminate": ["de"], "exclude": [], "probes": {"clean": probe}})
    stage = next(s for s in plan.stages.values() if s.kind == "continue")
    tokenizer = load_tokenizer(plan.sources.base)
    stream = Corpora(plan.sources.corpus.path, tokenizer).stream(stage)
    texts = [tokenizer.decode(list(row.ids)) for row in stream.all_rows()]
    assert len(texts) == 6 * (2 if text == "articles" else 1)  # three real and three retain items
    assert all(any(word in line for line in texts) for word in words)
    fakes = ("Kabo", "Lobo", "Mibo")  # items 0, 3 and 6
    assert not any(name in line for name in fakes for line in texts)


def test_the_schema_names_the_kind() -> None:
    assert GridSpec.model_validate(grid_of(probes={"clean": {"kind": "continue"}})).probes["clean"].parts().keys() == {
        ":1x", ":3x", ":10x"
    }  # fmt: skip
