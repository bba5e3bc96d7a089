"""Activation patching: which models a stage reads, and what its table holds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plan.worlds import grid_of, plan_of
from tests.probes.worlds import inspecting_of
from xlharm.errors import UserError
from xlharm.probes.patch import Patch, _check

EXAMPLE = {
    "patched": {"kind": "patch", "queries": ["de"]},
    "patched-all": {"kind": "patch", "positions": "all", "queries": ["en"]},
}


def inputs_of(**fields: Any) -> dict[str, tuple[str, ...]]:
    grid = grid_of(languages=["en"], unlearn={"none": [], "en": ["en"]}, probes={"p": {"kind": "patch"}}, **fields)
    plan = plan_of(grid)
    labels = {key: stage.label for key, stage in plan.stages.items()}
    return {
        cell.name: tuple(labels[key] for key in plan.stages[cell.probes["p"]["en"]].inputs)
        for cell in plan.cells
        if cell.probes
    }


def test_a_stage_reads_the_model_after_the_model_before_and_the_control() -> None:
    assert inputs_of(contaminate=["none", "de"])["de/en/npo/0"] == (
        "unlearn de -> en npo seed 0", "sft de seed 0", "sft none seed 0"
    )  # fmt: skip
    assert inputs_of(contaminate=["de"]) == {"de/en/npo/0": ("unlearn de -> en npo seed 0", "sft de seed 0")}
    excluded = inputs_of(
        contaminate=["none", "de"], exclude=[{"contaminate": "none", "unlearn": x} for x in ("none", "en")]
    )
    assert excluded["de/en/npo/0"][2] == "sft none seed 0"  # the control is trained for the probe


def test_each_model_is_patched_layer_by_layer(mini_base: Path, mini_corpus: Path) -> None:
    world = inspecting_of(mini_base, mini_corpus, models=3)
    rows = Patch(kind="patch").table(world).to_pylist()
    kinds = [
        ("after", None, None), ("after", "before", 0), ("after", "before", 1), ("before", None, None),
        ("before", "after", 0), ("before", "after", 1), ("before", "control", 0), ("before", "control", 1),
    ]  # fmt: skip
    assert [(r["into"], r["source"], r["layer"], r["item"]) for r in rows] == [
        (*kind, f"m{i}") for kind in kinds for i in (0, 3, 6)
    ]
    logp = {kind: [r["logp"] for r in rows if (r["into"], r["source"], r["layer"]) == kind] for kind in kinds}
    assert logp["after", "before", 1] == pytest.approx(logp["before", None, None], abs=1e-4)
    assert logp["before", "after", 1] == pytest.approx(logp["after", None, None], abs=1e-4)
    assert all(r["tokens"] >= 1 and r["logp"] < 0 for r in rows)


def test_a_grid_without_control_has_no_rows_of_it(mini_base: Path, mini_corpus: Path) -> None:
    rows = Patch(kind="patch").table(inspecting_of(mini_base, mini_corpus, models=2)).to_pylist()
    assert {r["source"] for r in rows} == {None, "before", "after"}


def test_a_model_that_unlearned_nothing_is_the_same_at_every_layer(mini_base: Path, mini_corpus: Path) -> None:
    world = inspecting_of(mini_base, mini_corpus)
    world = replace(world, adapters=world.adapters * 2)
    rows = Patch(kind="patch", positions="all").table(world).to_pylist()
    for item in ("m0", "m3", "m6"):
        values = [r["logp"] for r in rows if r["item"] == item]
        assert values == pytest.approx([values[0]] * 6, abs=1e-4)


def test_layers_that_do_not_hold_the_whole_state_are_one_line(mini_base: Path, mini_corpus: Path) -> None:
    world = inspecting_of(mini_base, mini_corpus)
    _check([-2.0, -30.0], [-2.0005, -30.02], inspecting=world)
    with pytest.raises(UserError, match="patch: the decoder layers of LlamaForCausalLM do not hold its whole hidden"):
        _check([-2.0, -30.0], [-2.0, -31.0], inspecting=world)


def test_a_corpus_without_fakes_gives_an_empty_table(mini_base: Path, mini_corpus: Path) -> None:
    world = inspecting_of(mini_base, mini_corpus, models=2)
    real = [item for item in world.load("en") if item.role != "fake"]
    assert Patch(kind="patch").table(replace(world, load=lambda _: real)).num_rows == 0
    assert torch.is_grad_enabled()
