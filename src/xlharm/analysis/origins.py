"""Where the numbers come from: stages, code, versions, hardware; and what is missing, with its reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xlharm.analysis.table import Results
from xlharm.analysis.wording import without_credentials
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.plan.stage import MODELS
from xlharm.store.record import Record
from xlharm.store.store import Store


@dataclass(frozen=True, kw_only=True)
class StageLine:
    """One finished stage."""

    kind: str
    label: str
    key: str
    device: str
    dtype: str
    engine: str
    commit: str
    seconds: float | None
    finished: str


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One stage without a result, and why, where that is known."""

    label: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Origins:
    """The provenance of a grid's results.

    Attributes:
        training: finished training stages in the plan's order.
        evaluations: finished evaluations.
        versions: package to the versions that took part, usually one.
        missing: failed stages first, then those not run yet, cut to what can be read.
        waiting: how many stages have no result.
        seconds: what all finished stages took together.
    """

    training: tuple[StageLine, ...]
    evaluations: tuple[StageLine, ...]
    versions: dict[str, tuple[str, ...]]
    hardware: tuple[str, ...]
    missing: tuple[Missing, ...]
    waiting: int
    seconds: float


def origins(plan: Plan, store: Store, *, results: Results) -> Origins:
    """Read the records of all finished stages of a plan; a damaged one is told among the missing."""
    records = dict(results.records)
    damaged: list[Missing] = []
    for key in store.done(plan.stages):
        stage = plan.stages[key]
        if stage.kind in MODELS:
            try:
                records[key] = store.record(stage.kind, key)
            except CorruptArtifactError as error:
                damaged.append(Missing(label=stage.label, reason=without_credentials(str(error))))
    damaged += [Missing(label="evaluation", reason=without_credentials(line)) for line in results.damaged]
    failures = store.failures({k: s for k, s in plan.stages.items() if k not in records})
    failed = [Missing(label=f.label, reason=without_credentials(f"{f.reason}: {f.message}")) for f in failures.values()]
    lines = [_line(records[key]) for key in plan.stages if key in records]
    return Origins(
        training=tuple(line for line in lines if line.kind in MODELS),
        evaluations=tuple(line for line in lines if line.kind not in MODELS),
        versions=_versions(records.values()),
        hardware=tuple(sorted({h for r in records.values() if (h := _hardware(r.provenance))})),
        missing=(*sorted(damaged, key=lambda m: m.reason), *failed),
        waiting=len(plan.stages) - len(records),
        seconds=sum(line.seconds or 0.0 for line in lines),
    )


def _line(record: Record) -> StageLine:
    told = record.provenance
    return StageLine(
        kind=record.kind,
        label=record.label,
        key=record.key[:16],
        device=str(told.get("device") or "?"),
        dtype=str(told.get("dtype") or "?"),
        engine=_engine(told.get("engine")),
        commit=_commit(told),
        seconds=record.timings.get("share", record.timings.get("pack")),
        finished=record.finished,
    )


def _engine(told: Any) -> str:
    """A trained stage names its engine; an evaluation has none."""
    if not isinstance(told, dict):
        return "–"
    ranks = told.get("ranks", 1)
    return f"{told.get('name', '?')} ZeRO {told.get('zero', '?')}" + (f" × {ranks}" if ranks != 1 else "")


def _commit(told: dict[str, Any]) -> str:
    sha = told.get("git_sha")
    if not sha:
        return "unknown"
    return str(sha)[:10] + (" + changes" if told.get("dirty") else "")


def _hardware(told: dict[str, Any]) -> str:
    name = told.get("hardware")
    cores = told.get("cores")
    return f"{name}" + (f", {cores} cores" if cores and told.get("device") == "cpu" else "") if name else ""


def _versions(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for record in records:
        told = record.provenance.get("versions")
        for package, version in told.items() if isinstance(told, dict) else ():
            found.setdefault(str(package), set()).add(str(version))
    return {package: tuple(sorted(found[package])) for package in sorted(found)}
