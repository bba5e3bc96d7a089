"""Where the numbers come from: stages, code, versions, hardware; and what is missing, with its reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xlharm.analysis.results import GridResults
from xlharm.analysis.wording import without_credentials
from xlharm.errors import CorruptArtifactError
from xlharm.plan.stage import MODELS
from xlharm.store.record import Record


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


def origins(results: GridResults) -> Origins:
    """Read the records of all finished stages of a plan; a damaged one is listed among the missing."""
    plan, records = results.plan, dict(results.records)
    damaged: list[Missing] = []
    for key in results.done:
        stage = plan.stages[key]
        if stage.kind in MODELS:
            try:
                records[key] = results.record(key)
            except CorruptArtifactError as error:
                damaged.append(Missing(label=stage.label, reason=without_credentials(str(error))))
    damaged += [Missing(label="evaluation", reason=without_credentials(line)) for line in results.damaged]
    failures = {key: failure for key, failure in results.failures.items() if key not in records}
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
    provenance = record.provenance
    return StageLine(
        kind=record.kind,
        label=record.label,
        key=record.key[:16],
        device=str(provenance.get("device") or "?"),
        dtype=str(provenance.get("dtype") or "?"),
        engine=_engine(provenance.get("engine")),
        commit=_commit(provenance),
        seconds=record.timings.get("share", record.timings.get("pack")),
        finished=record.finished,
    )


def _engine(engine: Any) -> str:
    """A trained stage names its engine; an evaluation has none."""
    if not isinstance(engine, dict):
        return "–"
    ranks = engine.get("ranks", 1)
    return f"{engine.get('name', '?')} ZeRO {engine.get('zero', '?')}" + (f" × {ranks}" if ranks != 1 else "")


def _commit(provenance: dict[str, Any]) -> str:
    sha = provenance.get("git_sha")
    if not sha:
        return "unknown"
    return str(sha)[:10] + (" + changes" if provenance.get("dirty") else "")


def _hardware(provenance: dict[str, Any]) -> str:
    name = provenance.get("hardware")
    cores = provenance.get("cores")
    return f"{name}" + (f", {cores} cores" if cores and provenance.get("device") == "cpu" else "") if name else ""


def _versions(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    versions: dict[str, set[str]] = {}
    for record in records:
        packages = record.provenance.get("versions")
        for package, version in packages.items() if isinstance(packages, dict) else ():
            versions.setdefault(str(package), set()).add(str(version))
    return {package: tuple(sorted(versions[package])) for package in sorted(versions)}
