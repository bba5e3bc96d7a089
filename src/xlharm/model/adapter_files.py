"""Adapter files in PEFT's format, which ``PeftModel.from_pretrained`` loads."""

import errno
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from xlharm.errors import StageError
from xlharm.model.layout import Layout
from xlharm.plan.families import Kind

_PREFIX = "base_model.model."


def save_adapter(vector: Tensor, folder: Path, *, layout: Layout, base_name: str, kind: Kind = "causal") -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` (float32).

    Args:
        vector: the adapter [P].
        folder: an existing folder.
        layout: how the adapter is cut into layers.
        base_name: name of the base model for ``adapter_config.json``.
        kind: kind of the base model. PEFT has no task for masked ones.

    Raises:
        StageError: a tensor is empty or not finite. A damaged adapter must not be stored as a result.
        OSError: a file cannot be written.
    """
    tensors = {}
    whole = vector.detach().float().cpu()
    for segment, stem in zip(layout.segments, _stems(layout), strict=True):
        a, b = segment.factors(whole, rank=layout.rank)
        tensors[f"{stem}.lora_A.weight"] = a.flatten(0, 1).contiguous()
        tensors[f"{stem}.lora_B.weight"] = b.permute(1, 2, 0).flatten(1).contiguous()
    for name, tensor in tensors.items():
        if tensor.numel() == 0:
            raise StageError(f"{name}: empty tensor")
        if not bool(torch.isfinite(tensor).all()):
            raise StageError(f"{name}: not finite")
    task = {"causal": "CAUSAL_LM", "encoder-decoder": "SEQ_2_SEQ_LM", "masked": None}[kind]
    config = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base_name,
        "r": layout.rank,
        "lora_alpha": layout.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({s.target for s in layout.segments if not s.experts}),
        "inference_mode": True,
        "fan_in_fan_out": any(s.transposed and not s.experts for s in layout.segments),
    }
    if stacked := sorted({s.target for s in layout.segments if s.experts}):
        config["target_parameters"] = stacked
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    write_tensors(tensors, folder / "adapter_model.safetensors")


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file.

    Raises:
        OSError: the file cannot be written, for example because the disk is full. safetensors itself raises an error
            class of its own.
    """
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        full = f"os error {errno.ENOSPC}" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from None


def load_adapter(folder: Path, *, layout: Layout) -> Tensor:
    """Read an adapter as a flat vector [P] (float32, CPU).

    Raises:
        StageError: the adapter has other layers or another rank than ``layout``.
    """
    tensors = load_file(folder / "adapter_model.safetensors")
    parts = []
    for s, stem in zip(layout.segments, _stems(layout), strict=True):
        rows = s.matrices * layout.rank
        shapes = {"A": (rows, s.fan_in), "B": (s.fan_out, rows)}
        for leaf, shape in shapes.items():
            tensor = tensors.get(f"{stem}.lora_{leaf}.weight")
            if tensor is None or tuple(tensor.shape) != shape:
                raise StageError(f"{folder}: {s.name}.lora_{leaf}: expected a tensor of shape {shape}")
            if leaf == "B":
                tensor = tensor.view(s.fan_out, layout.rank, -1).permute(2, 0, 1)
            parts.append(tensor.float().reshape(-1))
    return torch.cat(parts)


def _stems(layout: Layout) -> list[str]:
    """Return what PEFT calls each layer in a file.

    Of several stacked parameters of one module, PEFT wraps the module for the first one, this wrapper for the second
    one, and so on; the module in a wrapper is its ``base_layer``. A's rows are sorted by expert, B's columns by rank.
    """
    paths = [s.name.rpartition(".")[0] if s.experts else s.name for s in layout.segments]
    later = [paths[i + 1 :].count(path) for i, path in enumerate(paths)]
    return [f"{_PREFIX}{path}{'.base_layer' * count}" for path, count in zip(paths, later, strict=True)]
