"""Check the options of a run, for the command line and the Python API."""

import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from xlharm.engine.limits import deadline_at
from xlharm.engine.options import Device, RunOptions
from xlharm.errors import UserError
from xlharm.plan.sharding import Offload, zero_stage

Executor = Literal["ray", "in-process"]

# Largest number of stages in a pack. One small stage alone would leave most of a GPU idle.
FULL_PACK = {"cpu": 6, "cuda": 8}
_LABEL = re.compile(r"[A-Za-z0-9][\w./-]*=[A-Za-z0-9][\w.-]*")


def run_options(
    *,
    executor: Executor,
    pack: int | str,
    workers: int | None,
    device: Device,
    max_gpu_hours: float | None,
    deadline: str | None,
    labels: Mapping[str, str] | None,
    zero: int | None,
    ranks: int,
    offload: Offload | None,
    **others: Any,
) -> RunOptions:
    """Check options and return them; the arguments are those of ``xlharm.api.Grid.run``.

    Raises:
        UserError: an option is wrong, or options exclude each other.
    """
    zero_stage(zero, ranks=ranks, offload=offload)
    if max_gpu_hours is not None and not 0 < max_gpu_hours < math.inf:
        raise UserError(f"--max-gpu-hours {max_gpu_hours:g}: expected a number above 0")
    options = RunOptions(
        pack=_pack_size(pack, device), spread=workers if pack == "auto" else None, workers=workers, ranks=ranks,
        zero=zero, offload=offload, device=device, labels=dict(labels or {}), max_hours=max_gpu_hours,
        deadline=None if deadline is None else deadline_at(deadline, now=time.time()), **others,
    )  # fmt: skip
    if executor == "in-process":
        _refuse_more_processes(options)
    return options


def read_labels(pairs: Iterable[str]) -> dict[str, str]:
    """Read labels of the form ``KEY=VALUE``; other characters would be operators to Ray.

    Raises:
        UserError: a label has another form.
    """
    pairs = list(pairs)
    for text in pairs:
        if not _LABEL.fullmatch(text):
            raise UserError(f"--label {text}: expected KEY=VALUE, of letters, digits, and `-_./`")
    return dict(text.split("=", 1) for text in pairs)


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA or AMD GPU that this process may use; checked without torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return False
    return any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd"))


def _refuse_more_processes(options: RunOptions) -> None:
    """Refuse options that need more than this process."""
    values = {
        "--address": options.address, "--workers": (options.workers or 1) > 1, "--ranks": options.ranks > 1,
        "--zero": options.zero, "--offload": options.offload, "--label": options.labels,
        "--keep-warm": options.keep_warm,
    }  # fmt: skip
    for option, value in values.items():
        if value:
            raise UserError(f"{option}: needs Ray, so it cannot be used with --executor in-process")


def _pack_size(pack: int | str, device: Device) -> int:
    if pack == "auto":
        return FULL_PACK["cuda" if device == "cuda" or (device == "auto" and has_gpu()) else "cpu"]
    if not str(pack).isdigit() or int(pack) < 1:
        raise UserError(f"--pack {pack}: expected auto or a number from 1")
    return int(pack)
