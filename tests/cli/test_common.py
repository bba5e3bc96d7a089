"""What `dtype: auto` means, and what a grid was begun with."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plan.worlds import grid_of, plan_of
from xlharm.cli import common
from xlharm.cli.common import Session, begun_with, has_gpu, precision, remember
from xlharm.config.load import parse_grid
from xlharm.store.store import Store


def spec(**fields: Any) -> Any:
    return parse_grid(grid_of(**fields), name="grid.yaml")


@pytest.mark.parametrize(("gpu", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_follows_the_machine_until_the_grid_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, dtype: str
) -> None:
    store = Store(str(tmp_path))
    monkeypatch.setattr(common, "has_gpu", lambda: gpu)
    assert precision(spec(), store) == dtype
    assert precision(spec(dtype="bfloat16"), store) == "bfloat16"
    store.write_text("grids/g.json", '{"dtype": "bfloat16"}')
    assert precision(spec(), store) == "bfloat16"
    store.write_text("grids/g.json", "damaged")
    assert precision(spec(), store) == dtype


def test_what_a_grid_is_run_with_is_remembered(tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path)), plan_of(grid_of())
    assert begun_with("g", store) is None
    remember(Session(plan=plan, store=store))
    assert begun_with("g", store) == plan.dtype == "float32"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_are_hidden_do_not_count(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setattr(common.Path, "exists", lambda _: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not has_gpu()


def test_a_gpu_that_torch_sees_is_seen_without_torch() -> None:
    assert has_gpu() or not torch.cuda.is_available()
