"""Estimate the device memory of a pack from the tensor shapes in a base's files. No torch."""

import json
import re
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

from xlharm.errors import UserError, nearest
from xlharm.plan.base_files import local_folder, weight_files
from xlharm.plan.settings import UnlearnStage, training_of
from xlharm.plan.sources import BaseSource
from xlharm.plan.stage import Stage

_BYTES = {"float32": 4, "bfloat16": 2, "float8": 2}  # float8: weights are kept in two orders, where there is room
_TRAINED_BYTES = 16  # per trained adapter parameter: value, gradient and AdamW's two moments, in float32
_LOADED_BYTES = 4  # per adapter parameter without training
_ROW_TOKENS = 512  # assumed length of a row; a pack that needs more is trained in smaller batches
_VOCABULARY = ("embed", "lm_head", "wte")  # parts of names of matrices with a row for each token
_LAYER = re.compile(r"\.(\d+)\.")
# Parts of names of matrices whose inputs and outputs are not counted.
_ROUTERS = {"router", "gate", "shared_expert_gate"}
_OUTSIDE = ("embed", "lm_head", "wte", "wpe", "vision", "visual", "audio", "multi_modal")


@dataclass(frozen=True, kw_only=True)
class BaseSizes:
    """The sizes of a base that decide how much memory a pack needs.

    Attributes:
        parameters: number of parameters.
        widths: sum of inputs and outputs over all matrices of a name, by the last part of the module's name.
        body: number of parameters of the decoder layers.
        head: number of parameters of the output layer.
        layers: number of decoder layers.
        linears: the same of the layers that can have adapters: without routers and single experts; stacked experts
            are not among them, unless ``plan.targets.sizes_of`` added them.
        weights: number of weights of these layers, by the same name.
    """

    parameters: int
    widths: dict[str, int]
    body: int = 0
    head: int = 0
    layers: int = 1
    linears: dict[str, int] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, base: BaseSource) -> Self | None:
        """Read the headers of a base's safetensors; None when its files are not on this machine.

        Raises:
            UserError: a file is damaged.
        """
        folder = _folder(base)
        files = [] if folder is None else weight_files(folder)
        if folder is None or not files:
            return None
        parameters, vocabulary, layers = 0, [0], set[str]()
        widths, linears, weights = Counter[str](), Counter[str](), Counter[str]()
        for file in files:
            for name, shape in _shapes(folder / file) if file.endswith(".safetensors") else ():
                size = 1
                for length in shape:
                    size *= length
                parameters += size
                if len(shape) == 2 and name.endswith(".weight") and not any(word in name for word in _OUTSIDE):
                    leaf = name.split(".")[-2]
                    widths[leaf] += sum(shape)
                    if can_have_adapters(name.removesuffix(".weight")):
                        linears[leaf] += sum(shape)
                        weights[leaf] += size
                elif len(shape) == 2 and any(word in name for word in _VOCABULARY):
                    vocabulary.append(size)
                layers |= set(_LAYER.findall(name))
        return cls(
            parameters=parameters, widths=dict(widths), body=parameters - sum(vocabulary), head=max(vocabulary),
            layers=max(len(layers), 1), linears=dict(linears), weights=dict(weights),
        )  # fmt: skip

    def adapter_parameters(self, *, rank: int, targets: tuple[str, ...]) -> int:
        """Return the number of parameters of a LoRA adapter (arXiv 2106.09685): rank · (inputs + outputs), summed."""
        return rank * sum(self.linears.get(target, 0) for target in targets)

    def share(self, targets: Iterable[str]) -> float:
        """Return the share of the base's parameters that are weights of the target layers."""
        return sum(self.weights.get(target, 0) for target in targets) / self.parameters

    def weight_bytes(self, *, dtype: str) -> int:
        """Return the bytes of the base's weights."""
        return self.parameters * _BYTES[dtype]

    def activation_bytes(self, tokens: int, *, dtype: str) -> int:
        """Return the bytes that every matrix's input and output take in training, for so many tokens."""
        return tokens * sum(self.widths.values()) * _BYTES[dtype]

    def trial_bytes(self, *, rank: int, targets: tuple[str, ...]) -> int:
        """Return the bytes of a trained adapter: value, gradient and AdamW's two moments, in float32."""
        return _TRAINED_BYTES * self.adapter_parameters(rank=rank, targets=targets)


def can_have_adapters(name: str) -> bool:
    """Whether a linear layer of this name may have adapters: it is no router, and no layer of a single expert.

    A small change of a router sends tokens to other experts. A single expert gets only some of the tokens, so it is
    unknown which adapter they belong to.
    """
    parts = name.split(".")
    expert = any(a == "experts" and b.isdigit() for a, b in pairwise(parts))
    return not expert and not _ROUTERS & set(parts[-2:])


def no_layer(target: str, layers: Iterable[str]) -> UserError:
    """Return an error about a LoRA target that a base lacks; it lists the layers that the base has."""
    names = sorted(layers)
    if any(word in target for word in _OUTSIDE):
        return UserError(f"lora.target_modules: {target!r}: only layers inside the decoder are adapted ({names})")
    return UserError(f"lora.target_modules: the base has no layer {target!r}{nearest(target, names)} ({names})")


def estimate_bytes(sizes: BaseSizes, stage: Stage, *, slots: int) -> int:
    """Estimate a pack's memory: base, adapters, and in training every matrix's input and output for each token.

    Generation chooses its batches by the free memory, so what it needs beyond base and adapters is left out.

    Args:
        sizes: sizes of the base.
        stage: any stage of the pack.
        slots: number of slots of the pack.
    """
    width: int = _BYTES[stage.spec.get("dtype", "float32")]
    lora = stage.spec.get("lora")
    adapter = sizes.adapter_parameters(rank=lora["rank"], targets=tuple(lora["target_modules"])) if lora else 0
    settings = training_of(stage)
    if settings is None:
        return sizes.parameters * width + slots * adapter * _LOADED_BYTES
    rows = settings.training.batch_size
    if isinstance(settings, UnlearnStage) and settings.training.retain != "none":
        rows += settings.training.retain_batch_size
    activations = rows * sizes.activation_bytes(_ROW_TOKENS, dtype=stage.spec.get("dtype", "float32"))
    return sizes.parameters * width + slots * (adapter * _TRAINED_BYTES + activations)


def _folder(base: BaseSource) -> Path | None:
    folder = local_folder(base)
    try:
        if folder is not None:
            weight_files(folder)
    except UserError:  # some parts of a hub model are not here yet
        if base.revision is None:
            raise
        return None
    return folder


def _shapes(path: Path) -> list[tuple[str, list[int]]]:
    """Read a safetensors file's header: its length in 8 bytes, then JSON."""
    try:
        with path.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(handle.read(length))
        return [(name, tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, TypeError, KeyError, AttributeError):
        problem = "is no safetensors file (incomplete, or a Git LFS pointer?)"
        raise UserError(f"base {path.parent}: {path.name} {problem}") from None
