"""Estimate the time and disk space of a plan, from measured times where the store has any."""

from collections.abc import Mapping
from dataclasses import dataclass

from xlharm.plan.build import Plan
from xlharm.plan.stage import KINDS, MODELS, Kind, Stage

# Seconds per stage on two CPU cores with the shipped base; measured times of the store replace them.
DEFAULT_SECONDS: dict[Kind, float] = {
    "contaminate": 15.0, "sft": 3.0, "finetune": 9.0, "unlearn": 9.0, "edit": 0.2, "relearn": 2.0, "evaluate": 0.6,
    "score": 1.0, "judge": 5.0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class KindCost:
    """The stages of one kind in a plan.

    Attributes:
        kind: the kind.
        naive: number of stages if cells shared none.
        shared: number of stages of the plan.
        done: number of these that are in the store.
        seconds_left: estimated seconds for the others, on one worker.
        seconds_naive: estimated seconds for ``naive`` stages.
    """

    kind: Kind
    naive: int
    shared: int
    done: int
    seconds_left: float
    seconds_naive: float


@dataclass(frozen=True, kw_only=True)
class PlanCost:
    """The estimated cost of a plan.

    Attributes:
        lines: one for each kind that the plan has.
        disk: bytes that the missing stages will add to the store; None when an adapter's size is unknown.
        measured: whether any times are measured.
    """

    lines: tuple[KindCost, ...]
    disk: int | None
    measured: bool


def estimate(plan: Plan, *, done: set[str], seconds: Mapping[str, float], adapter_bytes: int | None) -> PlanCost:
    """Count stages and sum their cost.

    Args:
        plan: the plan.
        done: keys of stages in the store.
        seconds: measured seconds per stage, by kind; the other kinds use a default.
        adapter_bytes: size of one adapter; None when it is not known.
    """
    per_kind = {kind: seconds.get(kind, DEFAULT_SECONDS[kind]) for kind in KINDS}
    lines = []
    for kind in (kind for kind in KINDS if plan.naive[kind]):
        keys = [k for k, s in plan.stages.items() if s.kind == kind]
        finished = sum(k in done for k in keys)
        lines.append(
            KindCost(
                kind=kind,
                naive=plan.naive[kind],
                shared=len(keys),
                done=finished,
                seconds_left=per_kind[kind] * (len(keys) - finished),
                seconds_naive=per_kind[kind] * plan.naive[kind],
            )
        )
    missing = [s for k, s in plan.stages.items() if k not in done]
    disk = None if adapter_bytes is None else sum(adapter_bytes if s.kind in MODELS else 20_000 for s in missing)
    return PlanCost(lines=tuple(lines), disk=disk, measured=bool(seconds))


def differences(stage: Stage, stored: Mapping[str, object]) -> list[str]:
    """List the fields in which a stage's identity differs from a stored one, as ``path: old -> new``."""
    lines: list[str] = []
    _compare(stored, stage.identity(), path="", lines=lines)
    return lines


def _compare(old: object, new: object, *, path: str, lines: list[str]) -> None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            _compare(old.get(key), new.get(key), path=f"{path}.{key}" if path else str(key), lines=lines)
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        if list(old) != list(new):
            lines.append(f"{path}: {list(old)} -> {list(new)}")
    elif old != new:
        lines.append(f"{path}: {old} -> {new}")
