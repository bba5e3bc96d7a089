"""Whole grids on bases of different families have the tables, answers and adapters of plain transformers and PEFT."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from tests.families.whole import FAMILIES, Apart, Judged, adapter_of, judge, plain, run_here, run_on_ray, stored


def is_equal(apart: Apart) -> bool:
    """Whether answers and rates are the same, and likelihoods and adapters but for rounding in float32.

    Adapters may differ more: AdamW makes a step of full size of a gradient that is nothing but rounding, as that of an
    expert is which gets hardly a token.
    """
    rounding = apart.likelihood < 1e-3 and apart.perplexity < 1e-2 and apart.adapters < 1e-2
    return apart.answers == 1.0 and apart.rate == 0.0 and rounding


def is_as_near(judged: Judged) -> bool:
    """Whether xlharm in bfloat16 is off from float32 by at most four times what plain PEFT in bfloat16 is off by."""
    ours, usual = judged.exact, judged.usual
    return (
        ours.likelihood_mean <= 4 * usual.likelihood_mean + 0.005 and 1 - ours.answers <= 2 * (1 - usual.answers) + 0.1
    )


@pytest.mark.slow
def test_a_whole_grid_is_that_of_plain_peft(tmp_path: Path) -> None:
    judged = judge("cohere2", tmp_path, run=run_here, steps=24)
    assert is_equal(judged.same), judged.same
    assert judged.hits > 0.1  # answers hold details: equal tables are no tables of zeros
    grid: dict[str, Any] = YAML(typ="safe").load(tmp_path / "cohere2.yaml")
    ours = stored(tmp_path / "cohere2.yaml", store=tmp_path / "store")
    grid["methods"]["npo"]["learning_rate"] *= 1.5
    adapter = adapter_of(tmp_path / "cohere2.yaml", store=tmp_path / "store")
    other = plain(grid, adapter=adapter, dtype="float32", device="cpu")
    assert not is_equal(Apart.of(ours, other))  # the comparison notices other settings


@pytest.mark.heavy
@pytest.mark.cluster
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_whole_grid_through_ray_is_that_of_plain_peft(kind: str, tmp_path: Path) -> None:
    judged = judge(kind, tmp_path, run=run_on_ray)
    assert is_equal(judged.same), judged.same
    assert judged.hits > 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["bloom", "gpt2", "qwen3_5_text", "gemma4_text", "deepseek_v3", "mixtral"])
def test_in_bfloat16_a_whole_grid_is_as_near_to_float32_as_plain_peft(kind: str, tmp_path: Path) -> None:
    judged = judge(kind, tmp_path, run=run_here, dtype="bfloat16", device="cuda")
    assert is_as_near(judged), judged
