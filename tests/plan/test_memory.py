"""What a base's files say of memory is what the loaded base has."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import plan_of
from xlharm.config.grid import LINEARS
from xlharm.errors import UserError
from xlharm.model.base import load_base
from xlharm.model.layout import layout_of
from xlharm.plan.memory import BaseSizes, estimate_bytes
from xlharm.plan.sources import BaseSource
from xlharm.plan.targets import check_targets


def test_headers_tell_what_the_model_has(mini_grid: dict[str, Any]) -> None:
    import torch

    plan = plan_of(mini_grid)
    sizes = BaseSizes.of(plan.sources.base)
    assert sizes is not None
    model = load_base(plan.sources.base, dtype="float32", device=torch.device("cpu"))
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    for targets in (
        ("q_proj", "v_proj"),
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    ):
        layout = layout_of(model, rank=4, alpha=8, targets=targets)
        assert sizes.adapter_parameters(rank=4, targets=targets) == layout.size


def test_the_output_layer_is_not_adapted(mini_grid: dict[str, Any]) -> None:
    plan = plan_of(mini_grid)
    message = r"lora.target_modules: 'lm_head': only layers inside the decoder are adapted \(\['down_proj',"
    with pytest.raises(UserError, match=message):
        check_targets(["q_proj", "lm_head"], plan.sources.base, list_layers=lambda _: LINEARS)
    import torch

    model = load_base(plan.sources.base, dtype="float32", device=torch.device("cpu"))
    with pytest.raises(UserError, match=message):
        layout_of(model, rank=4, alpha=8, targets=("q_proj", "lm_head"))


def test_an_estimate_adds_up(mini_grid: dict[str, Any]) -> None:
    plan = plan_of({**mini_grid, "lora": {"rank": 2, "alpha": 2, "target_modules": ["q_proj"]}})
    sizes = BaseSizes(parameters=1000, widths={"q_proj": 30, "down_proj": 70}, linears={"q_proj": 30, "down_proj": 70})
    unlearn = next(s for s in plan.stages.values() if s.kind == "unlearn")
    training = unlearn.spec["training"]
    rows = training["batch_size"] + (training["retain_batch_size"] if training["retain"] != "none" else 0)
    each = 2 * 30 * 16 + rows * 512 * 100 * 4
    assert estimate_bytes(sizes, unlearn, slots=1) == 4000 + each
    assert estimate_bytes(sizes, unlearn, slots=5) == 4000 + 5 * each
    evaluate = next(s for s in plan.stages.values() if s.kind == "evaluate")
    assert estimate_bytes(sizes, evaluate, slots=3) == 4000 + 3 * 2 * 30 * 4


@pytest.mark.parametrize("content", [b"", b"junk", b"version https://git-lfs", b"\x08" + b"\0" * 7 + b"not json"])
def test_a_damaged_base_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model.safetensors is no safetensors file"):
        BaseSizes.of(BaseSource(location=str(tmp_path), revision=None, digest="d", size=0))


def test_a_base_that_is_not_here_yet_is_not_estimated() -> None:
    assert BaseSizes.of(BaseSource(location="nobody/nothing", revision="0" * 40, digest="d", size=0)) is None
