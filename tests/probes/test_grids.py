"""The grid files of these probes run from end to end on the shipped base, with less training and fewer questions."""

from pathlib import Path
from typing import Any

import pytest

import xlharm

pytestmark = pytest.mark.heavy
GRIDS = Path(__file__).parents[2] / "grid"
LESS = {
    "languages": ["en", "de"], "stages.contaminate.steps": 6, "stages.sft.steps": 2, "methods.npo.steps": 2,
    "evaluate.questions": 12, "evaluate.max_new_tokens": 4,
}  # fmt: skip


def view_of(name: str, view: str, tmp_path: Path, **less: Any) -> list[dict[str, Any]]:
    grid = xlharm.open(GRIDS / f"{name}.yaml", store=str(tmp_path), overrides={**LESS, **less})
    assert grid.run(executor="in-process", device="cpu").exit_code == 0
    return [{str(k): v for k, v in row.items()} for row in grid.view(view).to_dict("records")]


def test_attribution(tmp_path: Path) -> None:
    rows = view_of("attribution", "attribution", tmp_path, unlearn={"none": [], "en": ["en"]})
    assert {(r["probe"], r["by"], r["measure"]) for r in rows} >= {
        ("parts", "all", "qr_share"), ("parts", "layer", "qr_share"), ("parts", "module", "qr_share"),
        ("alike", "layer", "cka"), ("alike", "layer", "cka_debiased"), ("alike", "layer", "cka_change"),
    }  # fmt: skip
    layers = {r["part"] for r in rows if r["by"] == "layer" and r["measure"] == "qr_share"}
    assert layers == {str(i) for i in range(6)}
    assert {r["part"] for r in rows if r["by"] == "module"} - {""} == {"self_attn", "mlp"}
    restored = {r["part"]: r["value"] for r in rows if r["measure"] == "restored" and r["query"] == "de"}
    assert restored.get("5", 100) == pytest.approx(100, abs=0.01)


def test_longterm(tmp_path: Path) -> None:
    probes = {
        "clean": {"kind": "continue", "times": [0, 1, 2], "roles": ["real"], "learning_rate": 2.8e-4},
        "relearn-own": {
            "kind": "relearn", "items": [1, 2], "languages": ["source"], "forget": "qa", "steps": 2,
            "learning_rate": 3e-4,
        },
    }  # fmt: skip
    rows = view_of("longterm", "halflife", tmp_path, unlearn={"none": [], "source": ["source"]}, probes=probes)
    assert {(r["probe"], r["unit"], r["query"], r["longest"]) for r in rows} == {
        *(("clean", "times", q, 2.0) for q in ("en", "de", "all")),
        *(("relearn-own", "items", q, 2.0) for q in ("en", "de", "all")),
    }  # fmt: skip
    assert all(r["state"] in {"back", "not back", "not removed"} for r in rows)
