"""Sum the time and disk space of a plan, and show in what a stage differs from a stored one."""

from collections.abc import Mapping
from dataclasses import dataclass

from xlharm.plan.build import Plan
from xlharm.plan.stage import KINDS, MODELS, Kind, Stage


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
    """

    lines: tuple[KindCost, ...]
    disk: int | None


def estimate(plan: Plan, *, done: set[str], seconds: Mapping[str, float], adapter_bytes: int | None) -> PlanCost:
    """Count stages and sum their cost.

    Args:
        plan: the plan.
        done: keys of stages in the store.
        seconds: expected seconds of each stage, by key.
        adapter_bytes: size of one adapter; None when it is not known.
    """
    lines = []
    for kind in (kind for kind in KINDS if plan.naive[kind]):
        keys = [k for k, s in plan.stages.items() if s.kind == kind]
        left = [seconds[k] for k in keys if k not in done]
        mean = sum(seconds[k] for k in keys) / len(keys)
        lines.append(
            KindCost(
                kind=kind,
                naive=plan.naive[kind],
                shared=len(keys),
                done=len(keys) - len(left),
                seconds_left=sum(left),
                seconds_naive=mean * plan.naive[kind],
            )
        )
    missing = [s for k, s in plan.stages.items() if k not in done]
    disk = None if adapter_bytes is None else sum(adapter_bytes if s.kind in MODELS else 20_000 for s in missing)
    return PlanCost(lines=tuple(lines), disk=disk)


def differences(stage: Stage, stored: Mapping[str, object]) -> list[str]:
    """List the fields in which a stage's identity differs from a stored one, as ``path: old -> new``."""
    return changes(stored, stage.identity())


def changes(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """List the fields in which one mapping differs from another, as ``path: old -> new``."""
    lines: list[str] = []
    _compare(old, new, path="", lines=lines)
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
