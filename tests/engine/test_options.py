"""What a worker is given of the options and the plan."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.worlds import PLAN
from xlharm.engine.options import RunOptions, worker_config
from xlharm.errors import UserError
from xlharm.store.store import Store


def test_a_worker_gets_what_decides_where_and_how_it_computes(tmp_path: Path) -> None:
    options = RunOptions(pack=5, ranks=2, zero=3, offload="params", device="cuda")
    config = worker_config(PLAN, Store(str(tmp_path)), options, device="cpu", threads=2)
    assert (config.device, config.threads) == ("cpu", 2)  # what was resolved, not what was asked for
    assert (config.slots, config.zero, config.offload) == (5, 3, "params")
    assert (config.base, config.dtype, config.store_url) == (PLAN.sources.base, PLAN.dtype, str(tmp_path))


@pytest.mark.parametrize("options", [{"zero": 3}, {"offload": "params"}, {"offload": "both", "ranks": 2}])
def test_a_base_in_float8_is_not_partitioned(tmp_path: Path, options: dict[str, Any]) -> None:
    plan, store = replace(PLAN, dtype="float8"), Store(str(tmp_path))
    with pytest.raises(UserError, match="no --zero 3"):
        worker_config(plan, store, RunOptions(pack=1, **options), device="cuda", threads=None)
    assert (
        worker_config(plan, store, RunOptions(pack=1, offload="optimizer"), device="cuda", threads=None).dtype
        == "float8"
    )
