"""A change of keys invalidates somebody's GPU hours: it must be meant, and is made here."""

import json
from pathlib import Path

from tests.plan.worlds import grid_of, plan_of

GOLDEN = Path(__file__).parent / "keys.json"


def test_keys_are_as_they_were() -> None:
    """Every kind of stage, and every sort of probe and judge."""
    grid = grid_of(
        contaminate=["none", "ur"],
        unlearn={"none": [], "both": ["en", "source"]},
        languages=["en", "ur"],
        methods={"npo": {"objective": "npo"}, "sub": {"objective": "subspace"}, "tv": {"objective": "task_vector"}},
        evaluate={"scores": True},
        probes={
            "relearn": {"kind": "relearn"},
            "int4": {"kind": "quantise"},
            "other": {"kind": "questions", "form": "code_switched", "queries": ["ur"]},
            "steer": {"kind": "steer", "queries": ["en"]},
        },
        judges={"chat": {"kind": "chat", "url": "http://host/v1", "model": "m-1"}},
        exclude=[{"contaminate": "none", "unlearn": "both"}],
    )
    keys = {f"{stage.label} {stage.spec.get('probe', '')}".strip(): key for key, stage in plan_of(grid).stages.items()}
    assert keys == json.loads(GOLDEN.read_text()), (
        "raise STAGE_VERSIONS only when numbers change; then update keys.json"
    )
