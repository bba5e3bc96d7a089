"""Adapters on disk."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xlharm.errors import StageError
from xlharm.model.adapter_files import load_adapter, save_adapter, write_tensors
from xlharm.model.layout import Layout, Segment

LAYOUT = Layout(
    rank=2, alpha=4, targets=("q_proj", "o_proj"),
    segments=(Segment("model.layers.0.q_proj", 0, 4, 3, 0), Segment("model.layers.0.o_proj", 0, 3, 5, 14)),
)  # fmt: skip


def test_a_vector_comes_back_bit_by_bit(tmp_path: Path) -> None:
    vector = torch.randn(LAYOUT.size, generator=torch.Generator().manual_seed(0))
    save_adapter(vector, tmp_path, layout=LAYOUT, base_name="base")
    assert torch.equal(load_adapter(tmp_path, layout=LAYOUT), vector)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert tensors["base_model.model.model.layers.0.q_proj.lora_A.weight"].shape == (2, 4)
    assert tensors["base_model.model.model.layers.0.o_proj.lora_B.weight"].shape == (5, 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_damaged_adapter_is_not_written(tmp_path: Path, value: float) -> None:
    vector = torch.zeros(LAYOUT.size)
    vector[-1] = value
    with pytest.raises(StageError, match=r"o_proj\.lora_B\.weight: not finite"):
        save_adapter(vector, tmp_path, layout=LAYOUT, base_name="base")
    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_an_adapter_of_another_rank_is_refused(tmp_path: Path) -> None:
    save_adapter(torch.zeros(LAYOUT.size), tmp_path, layout=LAYOUT, base_name="base")
    with pytest.raises(StageError, match=r"q_proj\.lora_A: expected a tensor of shape \(3, 4\)"):
        load_adapter(tmp_path, layout=replace(LAYOUT, rank=3))


def test_a_file_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_tensors({"x": torch.zeros(1)}, tmp_path / "nowhere" / "file.safetensors")
