"""A change of keys invalidates somebody's GPU hours: it must be meant, and is made here."""

import json
from pathlib import Path

from tests.plan.worlds import grid_of, plan_of

GOLDEN = Path(__file__).parent / "keys.json"


def test_keys_are_as_they_were() -> None:
    grid = grid_of(contaminate=["none", "ur"], unlearn={"none": [], "both": ["en", "source"]}, languages=["en", "ur"])
    keys = {stage.label: key for key, stage in plan_of(grid).stages.items()}
    assert keys == json.loads(GOLDEN.read_text()), (
        "raise STAGE_VERSIONS only when numbers change; then update keys.json"
    )
