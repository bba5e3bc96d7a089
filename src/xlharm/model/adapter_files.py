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
    for name, (a, b) in _cut(vector.detach().float().cpu(), layout).items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.contiguous()
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
        "target_modules": sorted(layout.targets),
        "inference_mode": True,
        "fan_in_fan_out": any(s.transposed for s in layout.segments),
    }
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
    for s in layout.segments:
        for leaf, shape in (("A", (layout.rank, s.fan_in)), ("B", (s.fan_out, layout.rank))):
            tensor = tensors.get(f"{_PREFIX}{s.name}.lora_{leaf}.weight")
            if tensor is None or tuple(tensor.shape) != shape:
                raise StageError(f"{folder}: {s.name}.lora_{leaf}: expected a tensor of shape {shape}")
            parts.append(tensor.float().reshape(-1))
    return torch.cat(parts)


def _cut(vector: Tensor, layout: Layout) -> dict[str, tuple[Tensor, Tensor]]:
    factors = {}
    for s in layout.segments:
        a_end = s.offset + layout.rank * s.fan_in
        a = vector[s.offset : a_end].view(layout.rank, s.fan_in)
        b = vector[a_end : a_end + s.fan_out * layout.rank].view(s.fan_out, layout.rank)
        factors[s.name] = (a, b)
    return factors
