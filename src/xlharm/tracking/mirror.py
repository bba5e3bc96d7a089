"""What an experiment tracker is told of a grid, as plain data: one run for the grid, one for each cell."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from statistics import fmean
from typing import Any

from xlharm.analysis.headline import headline
from xlharm.analysis.reading import Readings
from xlharm.analysis.results import GridResults
from xlharm.analysis.wording import shown_source
from xlharm.config.grid import NONE
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.plan.digest import digest
from xlharm.plan.stage import MODELS
from xlharm.store.record import Record
from xlharm.tracking.tables import Sheet, tables_of


@dataclass(frozen=True, kw_only=True)
class Run:
    """One tracked run.

    Attributes:
        id: follows from what the run is about alone, so that telling it again replaces it.
        history: one entry for each kept training step, ``loss/<kind>`` over ``step/<kind>``.
    """

    id: str
    name: str
    kind: str
    config: dict[str, Any]
    summary: dict[str, Any]
    tables: dict[str, Sheet] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()


def group_of(plan: Plan) -> str:
    """Name the group that a grid's runs share."""
    return f"{plan.grid.name}-{_grid_digest(plan)[:8]}"


def grid_id(plan: Plan) -> str:
    """Return the id of a grid's aggregator run."""
    return digest({"grid": plan.grid.name, "digest": _grid_digest(plan)})[:16]


def runs_of(results: GridResults) -> list[Run]:
    """Describe a grid as far as it is done: the aggregator run first, then every cell of which anything is done."""
    plan, readings, tables = results.plan, results.readings, tables_of(results)
    records = _training_records(results)
    cells = (_cell_run(cell, plan, readings, records=records) for cell in plan.cells)
    return [_grid_run(results, tables=tables), *(run for run in cells if run)]


def _grid_run(results: GridResults, *, tables: dict[str, Sheet]) -> Run:
    plan = results.plan
    spec = plan.grid
    axes = {
        "languages": list(spec.languages),
        "contaminate": list(spec.contaminate),
        "unlearn": {name: list(languages) for name, languages in spec.unlearn.items()},
        "methods": {name: method.model_dump(mode="json") for name, method in spec.methods.items()},
        "seeds": list(spec.seeds),
    }
    return Run(
        id=grid_id(plan),
        name=spec.name,
        kind="grid",
        config={**_common(plan), **axes},
        summary={
            "evaluations": len(tables["results"].rows),
            "evaluations_planned": sum(len(cell.evaluations) for cell in plan.cells),
            "headline": headline(results),
        },
        tables=tables,
    )


def _cell_run(cell: Cell, plan: Plan, readings: Readings, *, records: dict[str, Record]) -> Run | None:
    # up to the first record that is missing: what is sent later must only be appended
    trained = [records[key] for key in takewhile(records.__contains__, cell.lineage)]
    summary = _summary(cell, plan, readings)
    if not (trained or summary):
        return None
    method = plan.grid.methods[cell.method] if cell.method != NONE else None
    axes = {name: getattr(cell, name) for name in ("contaminate", "unlearn", "method", "seed", "model")}
    settings = method.model_dump(mode="json") if method else None
    return Run(
        id=digest({"grid": plan.grid.name, "cell": cell.name, "model": cell.model})[:16],
        name=cell.name,
        kind="cell",
        config={**_common(plan), "cell": cell.name, **axes, "method_settings": settings},
        summary=dict(summary),
        history=tuple(_history(trained)),
    )


def _grid_digest(plan: Plan) -> str:
    sources = plan.sources
    return digest(
        {
            "grid": plan.grid.model_dump(mode="json", exclude={"findings"}),
            "dtype": plan.dtype,
            "base": sources.base.digest,
            "corpus": sources.corpus.digests,
        }
    )


def _common(plan: Plan) -> dict[str, Any]:
    spec = plan.grid
    return {
        "grid": spec.name,
        "base": shown_source(spec.base),
        "corpus": shown_source(spec.corpus),
        "dtype": plan.dtype,
        "lora": spec.lora.model_dump(mode="json"),
        "stages": spec.stages.model_dump(mode="json"),
        "evaluate": spec.evaluate.model_dump(mode="json"),
    }


def _training_records(results: GridResults) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for key in results.done:
        if results.plan.stages[key].kind in MODELS:
            try:
                records[key] = results.record(key)
            except CorruptArtifactError:
                continue  # it will be computed again; the next mirror has it
    return records


def _summary(cell: Cell, plan: Plan, readings: Readings) -> dict[str, float]:
    summary: dict[str, float] = {}
    prefix = "choice_" if plan.sources.base.kind == "masked" else ""  # another measure than generated answers
    means: dict[str, list[float]] = {"of": [], "qr": []}
    for query in plan.grid.languages:
        reading = readings.get(cell.contaminate, cell.unlearn, cell.method, cell.seed, query)
        if reading is None:
            continue
        for measure, rate in (("of", reading.of), ("qr", reading.qr)):
            if rate:
                summary[f"{prefix}{measure}/{query}"] = round(rate.value, 2)
                means[measure].append(rate.value)
        for flag, value in (("off_language", reading.off_language), ("degenerate", reading.degenerate)):
            if value is not None:
                summary[f"{flag}/{query}"] = value
    return summary | {f"{prefix}{measure}/mean": round(fmean(values), 2) for measure, values in means.items() if values}


def _history(trained: list[Record]) -> Iterator[dict[str, float]]:
    """Yield one line for each kept training step of a lineage, stage by stage."""
    for record in trained:
        lines: dict[float, dict[str, float]] = {}
        for name in ("loss", "retain_loss"):
            for step, value in record.metrics.get(name) or ():
                lines.setdefault(step, {f"step/{record.kind}": step})[f"{name}/{record.kind}"] = value
        yield from (lines[step] for step in sorted(lines))
