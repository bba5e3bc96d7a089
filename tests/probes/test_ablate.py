"""Parts of an adapter switched off: all variants together give what each gives alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plan.worlds import grid_of, plan_of
from tests.probes.worlds import inspecting_of
from xlharm.evaluate.inspecting import Inspecting
from xlharm.model.parts import parts_of, without
from xlharm.plan.settings import InspectStage, read
from xlharm.probes.ablate import Ablate

EXAMPLE = {
    "parts": {
        "kind": "ablate", "by": ["layer", "module", "target", "component"], "components": 2, "queries": ["de"],
    }
}  # fmt: skip


def verdicts(inspecting: Inspecting, adapter: torch.Tensor) -> list[dict[str, Any]]:
    asking = inspecting.asking()
    return inspecting.verdicts(asking, asking.generate(adapter[None])[0])


def test_all_models_are_inspected_in_each_query_language() -> None:
    probes = {"parts": {"kind": "ablate", "queries": ["en", "ur"]}}
    plan = plan_of(grid_of(languages=["en", "ur"], unlearn={"none": [], "en": ["en"]}, probes=probes))
    assert all(set(cell.probes["parts"]) == {"en", "ur"} for cell in plan.cells)
    stage = plan.stages[plan.cells[1].probes["parts"]["ur"]]
    assert (stage.kind, stage.inputs, set(stage.data)) == ("inspect", (plan.cells[1].model,), {"ur"})
    usual = plan.stages[plan.cells[1].evaluations["ur"]].spec
    assert {name: usual[name] for name in ("max_new_tokens", "questions", "matching_version")}.items() <= (
        stage.spec.items()
    )
    assert read(InspectStage, stage).probe == Ablate(kind="ablate")


@pytest.mark.slow
def test_variants_together_answer_as_each_alone(mini_base: Path, mini_corpus: Path) -> None:
    probe = Ablate(kind="ablate", by=("layer", "module", "target", "component"), components=2)
    inspecting = inspecting_of(mini_base, mini_corpus, slots=3)
    found = probe.table(inspecting).to_pylist()
    layout, adapter = inspecting.stacked.layout, inspecting.adapters[0]
    parts = [part for by in probe.by for part in parts_of(layout, by, components=2)]
    assert len(parts) == 8
    models = {("none", ""): adapter, ("all", ""): torch.zeros_like(adapter)}
    for part, rest in zip(parts, without(adapter, parts, layout=layout), strict=True):
        models[part.by, part.name] = rest
    expected = [
        {"by": by, "part": part, **row} for (by, part), model in models.items() for row in verdicts(inspecting, model)
    ]
    assert found == expected
    assert {row["measure"] for row in found} == {"of", "qr"}
    assert probe.table(inspecting_of(mini_base, mini_corpus, slots=8)).to_pylist() == expected


def test_without_its_adapter_a_model_is_the_base(mini_base: Path, mini_corpus: Path) -> None:
    inspecting = inspecting_of(mini_base, mini_corpus, path="generic")
    asking = inspecting.asking()
    whole = asking.generate(torch.zeros_like(inspecting.adapters[0])[None])
    ids = torch.tensor([asking.prompts[0]])
    plain = inspecting.stacked.model.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]  # type: ignore[operator] # of transformers
    assert list(whole[0][0].ids) == plain.tolist()[: len(whole[0][0].ids)]
    assert asking.generate(inspecting.adapters[0][None]) != whole


def test_the_estimate_counts_the_variants() -> None:
    assert Ablate(kind="ablate", by=("layer", "component"), components=3).models(layers=12) == 2 + 12 + 3
