"""How much of a device's memory a pack takes, estimated from the shapes that a base's files name. No torch."""

import json
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from xlharm.errors import UserError, nearest
from xlharm.plan.base_files import weight_files
from xlharm.plan.settings import UnlearnStage, training_of
from xlharm.plan.sources import BaseSource
from xlharm.plan.stage import Stage

_BYTES = {"float32": 4, "bfloat16": 2}
_TRAINED = 16  # bytes of a trained adapter parameter: itself, its gradient and AdamW's two moments, in float32
_HELD = 4
# matrices that training keeps nothing of
_OUTSIDE = ("embed", "lm_head", "wte", "wpe", "vision", "audio", "multi_modal")


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What of a base decides memory.

    Attributes:
        parameters: how many it has.
        widths: inputs + outputs of its matrices, by the last part of the module's name, all layers together.
    """

    parameters: int
    widths: dict[str, int]

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
        parameters, widths = 0, Counter[str]()
        for file in files:
            for name, shape in _shapes(folder / file) if file.endswith(".safetensors") else ():
                size = 1
                for length in shape:
                    size *= length
                parameters += size
                if len(shape) == 2 and name.endswith(".weight") and not any(word in name for word in _OUTSIDE):
                    widths[name.split(".")[-2]] += sum(shape)
        return cls(parameters=parameters, widths=dict(widths))

    def check_targets(self, targets: Iterable[str]) -> None:
        """Refuse LoRA targets that no matrix is called.

        Raises:
            UserError: there is one.
        """
        for target in targets:
            if target not in self.widths:
                raise no_layer(target, self.widths)

    def adapter(self, *, rank: int, targets: tuple[str, ...]) -> int:
        """Return the parameters of one LoRA adapter (2106.09685): rank · (inputs + outputs) of each matrix."""
        return rank * sum(self.widths.get(target, 0) for target in targets)


def no_layer(target: str, have: Iterable[str]) -> UserError:
    """Say that a base has no such layer to adapt, and which it has."""
    known = sorted(have)
    if any(word in target for word in _OUTSIDE):
        return UserError(f"lora.target_modules: {target!r}: only the decoder layers' own are adapted ({known})")
    return UserError(f"lora.target_modules: the base has no layer {target!r}{nearest(target, known)} ({known})")


def estimate_bytes(anatomy: Anatomy, stage: Stage, *, slots: int) -> int:
    """Estimate what a pack needs: base, adapters, and in training every matrix's input and output for each token.

    What answers need beyond base and adapters is bounded by the batches that generation chooses, so it is left out.

    Args:
        anatomy: of the base.
        stage: any of the pack.
        slots: of the pack.
    """
    width: int = _BYTES[stage.spec.get("dtype", "float32")]
    lora = stage.spec.get("lora")
    adapter = anatomy.adapter(rank=lora["rank"], targets=tuple(lora["target_modules"])) if lora else 0
    settings = training_of(stage)
    if settings is None:
        return anatomy.parameters * width + slots * adapter * _HELD
    rows = settings.training.batch_size
    if isinstance(settings, UnlearnStage) and settings.training.retain != "none":
        rows += settings.training.retain_batch_size
    kept: int = rows * settings.training.sequence_length * sum(anatomy.widths.values()) * width
    return anatomy.parameters * width + slots * (adapter * _TRAINED + kept)


def _folder(base: BaseSource) -> Path | None:
    if base.revision is None:
        return Path(base.location)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(base.location, revision=base.revision, local_files_only=True))
        weight_files(folder)
        return folder
    except (LocalEntryNotFoundError, OSError, ValueError):  # UserError is a ValueError: some parts are not here yet
        return None


def _shapes(path: Path) -> list[tuple[str, list[int]]]:
    """Read a safetensors file's header: its length in 8 bytes, then JSON."""
    try:
        with path.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(handle.read(length))
        return [(name, told["shape"]) for name, told in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, TypeError, KeyError, AttributeError):
        told = "is no safetensors file (cut off, or a Git LFS pointer?)"
        raise UserError(f"base {path.parent}: {path.name} {told}") from None
