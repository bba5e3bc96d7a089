"""Estimates of time for a plan: a clock of its base and corpus, corrected by times that were measured."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from xlharm.corpus.lengths import counter, text_sizes
from xlharm.engine.catalog import measured
from xlharm.engine.choices import has_gpu
from xlharm.parallel import usable_cores
from xlharm.plan.build import Plan
from xlharm.plan.memory import BaseSizes
from xlharm.plan.sources import BaseSource
from xlharm.plan.stage import KINDS, Kind
from xlharm.plan.timing import UNKNOWN_BASE, Clock, Speed, start_seconds
from xlharm.store.store import Store

Device = Literal["cpu", "cuda"]
_START = "start"  # its name among the kinds of stages
Basis = Literal["store", "machine", "sizes"]
"""Where a correction comes from: this store, earlier runs of this base from this machine, or nowhere."""


def clocks_of(plan: Plan) -> dict[Device, Clock]:
    """Return a plan's clock for each type of device, not corrected; this counts the tokens of a part of the corpus.

    Raises:
        UserError: a file of the base is damaged.
    """
    sizes = BaseSizes.of(plan.sources.base) or UNKNOWN_BASE
    texts = text_sizes(plan.sources.corpus, plan.grid.prompt, count=counter(plan.sources.base))
    speeds: dict[Device, Speed] = {"cpu": Speed.of("cpu", cores=usable_cores()), "cuda": Speed.of("cuda")}
    return {
        device: Clock(
            sizes=sizes, texts=texts, speed=speed,
            start=start_seconds(sizes, speed, device=device, dtype=plan.dtype),
        )
        for device, speed in speeds.items()
    }  # fmt: skip


def corrected(clocks: Mapping[Device, Clock], plan: Plan, store: Store) -> tuple[Clock, Basis, Device]:
    """Return the clock that holds for a plan, where its correction comes from, and the type of its device."""
    here: Device = "cuda" if has_gpu() else "cpu"
    in_store = measured(store, plan, clocks[here])
    if in_store.device is not None and in_store.device != here:
        in_store = measured(store, plan, clocks[in_store.device])
    device = (in_store.device or here) if in_store.factors else here
    remembered = _remembered(plan.sources.base.digest, device)
    clock = replace(clocks[device], start=remembered.get(_START, clocks[device].start))
    if in_store.factors:
        return replace(clock, factors=in_store.factors), "store", device
    factors = {kind: remembered[kind] for kind in KINDS if kind in remembered}
    return replace(clock, factors=factors), "machine" if factors else "sizes", device


def expected_seconds(plan: Plan, clock: Clock, *, pack: int) -> dict[str, float]:
    """Return the expected seconds of each stage, by key.

    Args:
        plan: the plan.
        clock: the plan's.
        pack: most stages of a pack.
    """
    counts = Counter(stage.kind for stage in plan.stages.values())
    slots = {kind: min(pack, count) for kind, count in counts.items()}
    return {key: clock.seconds(stage, slots=slots[stage.kind]) for key, stage in plan.stages.items()}


def remember(clocks: Mapping[Device, Clock], plan: Plan, store: Store, *, start: float | None = None) -> None:
    """Keep what a run measured for the next plan with this base, whatever its store.

    Args:
        clocks: the plan's.
        plan: the plan that ran.
        store: where its stages are.
        start: seconds before the first worker's steps had their pace; None where no worker started.
    """
    clock, basis, device = corrected(clocks, plan, store)
    if basis == "store":
        remember_rates(plan.sources.base, device, factors=clock.factors, start=start)


def remember_rates(
    base: BaseSource, device: Device, *, factors: Mapping[Kind, float], start: float | None = None
) -> None:
    """Keep factors and start-up of a base on a type of device; without a cache, do nothing."""
    values: dict[str, float] = {kind: factor for kind, factor in factors.items()}  # noqa: C416 - of str, not of Kind
    if start is not None:
        values[_START] = start
    try:
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        known = _read()
        kept = known.setdefault(base.digest, {}).setdefault(device, {})
        kept.update({name: round(value, 4) for name, value in values.items()})
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(known), encoding="utf-8")
        scratch.replace(path)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return


def _remembered(base: str, device: Device) -> dict[str, float]:
    values = _read().get(base, {}).get(device, {})
    return {name: value for name, value in values.items() if isinstance(value, float) and value > 0}


def _path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xlharm" / "rates.json"


def _read() -> dict[str, dict[str, dict[str, float]]]:
    try:
        content = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):
        return {}
    if not isinstance(content, Mapping):
        return {}
    return {
        base: {d: dict(factors) for d, factors in devices.items() if isinstance(factors, Mapping)}
        for base, devices in content.items()
        if isinstance(devices, Mapping)
    }
