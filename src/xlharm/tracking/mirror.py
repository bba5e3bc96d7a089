"""What an experiment tracker is told of a grid, as plain data: one run for the grid, one for each cell."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from statistics import fmean
from typing import Any

from xlharm.analysis.headline import headline
from xlharm.analysis.results import GridResults
from xlharm.analysis.wording import shown_source
from xlharm.config.grid import NONE
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.plan.digest import digest
from xlharm.plan.stage import MODELS
from xlharm.store.record import Record
from xlharm.tracking.answers import answers_of
from xlharm.tracking.references import Artifact, adapter_of, corpus_of, page_of
from xlharm.tracking.tables import Sheet, curves_of, tables_of

_LONGEST_TAG = 64  # characters that W&B allows
_PROVENANCE = (
    "git_sha", "dirty", "versions", "device", "hardware", "cores", "threads", "dtype", "engine", "pack_size",
    "platform",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Run:
    """One tracked run.

    Attributes:
        id: follows from what the run is about alone, so that telling it again replaces it.
        history: one entry for each kept training step, ``loss/<kind>`` over ``step/<kind>``.
        measured: keys of the finished stages that measured the cell's model: what its answers follow from.
        artifacts: files by reference.
        answers: reads the cell's answers; None without any. They are read when the run is sent, because those of all
            cells do not fit into memory.
    """

    id: str
    name: str
    kind: str
    config: dict[str, Any]
    summary: dict[str, Any]
    tags: tuple[str, ...] = ()
    tables: dict[str, Sheet] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    measured: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    answers: Callable[[], Sheet] | None = field(default=None, compare=False, repr=False)


def group_of(plan: Plan) -> str:
    """Name the group that a grid's runs share."""
    return f"{plan.grid.name}-{_grid_digest(plan)[:8]}"


def grid_id(plan: Plan) -> str:
    """Return the id of a grid's aggregator run."""
    return digest({"grid": plan.grid.name, "digest": _grid_digest(plan)})[:16]


def runs_of(results: GridResults, *, page: Path | None = None) -> list[Run]:
    """Describe a grid as far as it is done: the aggregator run first, then every cell of which anything is done.

    Args:
        results: of the grid.
        page: its HTML page, to which the aggregator run refers.
    """
    return [grid_run(results, page=page), *cell_runs(results)]


def cell_runs(results: GridResults) -> list[Run]:
    """Describe every cell of which anything is done."""
    records = _training_records(results)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in results.table.to_pylist():
        rows.setdefault(row["cell"], []).append(row)
    cells = (_cell_run(c, results, records=records, rows=rows.get(c.name, [])) for c in results.plan.cells)
    return [run for run in cells if run]


def grid_run(results: GridResults, *, page: Path | None = None) -> Run:
    """Describe the grid as a whole: the aggregator run, with all tables."""
    plan = results.plan
    spec, tables = plan.grid, tables_of(results)
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
        tags=_tags(plan),
        config={**_common(plan), **axes},
        summary={
            "evaluations": len(tables["results"].rows),
            "evaluations_planned": sum(len(cell.evaluations) for cell in plan.cells),
            "headline": headline(results),
        },
        tables=tables,
        artifacts=(corpus_of(results), *page_of(results, page)),
    )


def _cell_run(
    cell: Cell, results: GridResults, *, records: dict[str, Record], rows: list[dict[str, Any]]
) -> Run | None:
    plan = results.plan
    # up to the first record that is missing: what is sent later must only be appended
    trained = [records[key] for key in takewhile(records.__contains__, cell.lineage)]
    evaluated = [results.records[key] for key in cell.evaluations.values() if key in results.records]
    if not (trained or evaluated):
        return None
    method = plan.grid.methods[cell.method] if cell.method != NONE else None
    axes = {name: getattr(cell, name) for name in ("contaminate", "unlearn", "method", "seed", "model")}
    settings = method.model_dump(mode="json") if method else None
    last = trained[-1] if trained else evaluated[-1]
    provenance = {name: last.provenance[name] for name in _PROVENANCE if name in last.provenance}
    stated = {"cell": cell.name, **axes, "method_settings": settings, "provenance": provenance}
    return Run(
        id=digest({"grid": plan.grid.name, "cell": cell.name, "model": cell.model})[:16],
        name=cell.name,
        kind="cell",
        tags=_tags(plan, cell),
        config={**_common(plan), **stated},
        summary={**_summary(cell, results, rows), **_timings([*trained, *evaluated])},
        history=tuple(_history(trained)),
        measured=tuple(key for key in cell.leaves if key in results.done),
        artifacts=adapter_of(results, cell),
        answers=partial(answers_of, results, cell) if evaluated else None,
    )


def _tags(plan: Plan, cell: Cell | None = None) -> tuple[str, ...]:
    """Return what runs are found by; a tag that is longer than W&B allows is left out."""
    tags = [f"grid:{plan.grid.name}", f"base:{shown_source(plan.grid.base)}"]
    if cell is None:
        tags += ["aggregator", f"corpus:{shown_source(plan.grid.corpus)}"]
    else:
        tags += [f"{axis}:{getattr(cell, axis)}" for axis in ("contaminate", "unlearn", "method", "seed")]
        tags += ["clean control"] if cell.contaminate == NONE and cell.unlearn == NONE else []
    return tuple(tag for tag in tags if len(tag) <= _LONGEST_TAG)


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


_NUMBERS = (
    *("of", "of_lo", "of_hi", "n", "items", "qr", "qr_lo", "qr_hi", "n_qr", "items_qr"),
    *("off_language", "degenerate", "refusal", "rouge_l", "chrf"),
)
_COUNTED = ("off_language", "degenerate")  # of choices as well as of answers


def _summary(cell: Cell, results: GridResults, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the numbers of a cell's rows in the results table as ``NAME/<query>``, and the means over queries.

    ``of_change`` and ``qr_change`` are points against the same model before unlearning. OF and QR of choices are other
    measures than those of answers, so that all names of a masked base begin with ``choice_``.
    """
    prefix = "choice_" if results.plan.sources.base.kind == "masked" else ""
    summary: dict[str, float] = {}
    for row in rows:
        query = row["query"]
        for name in _NUMBERS:
            if row[name] is not None:
                summary[f"{'' if name in _COUNTED else prefix}{name}/{query}"] = row[name]
        reading = results.readings.get(cell.contaminate, cell.unlearn, cell.method, cell.seed, query)
        before = results.readings.before(reading) if reading else None
        for measure in ("of", "qr") if reading and before else ():
            after, earlier = getattr(reading, measure), getattr(before, measure)
            if after and earlier:
                summary[f"{prefix}{measure}_change/{query}"] = round(after.value - earlier.value, 2)
    for measure in ("of", "qr"):
        values = [row[measure] for row in rows if row[measure] is not None]
        if values:
            summary[f"{prefix}{measure}/mean"] = round(fmean(values), 2)
    return summary


def _timings(records: list[Record]) -> dict[str, float]:
    """Return the seconds of a cell's stages by kind: each stage's share of its pack."""
    seconds: dict[str, float] = {}
    for record in records:
        share = record.timings.get("share", record.timings.get("pack", 0.0))
        seconds[f"seconds/{record.kind}"] = round(seconds.get(f"seconds/{record.kind}", 0.0) + share, 3)
    return seconds


def _history(trained: list[Record]) -> Iterator[dict[str, float]]:
    """Yield one line for each kept training step of a lineage, stage by stage."""
    for record in trained:
        lines: dict[float, dict[str, float]] = {}
        for name, points in curves_of(record.metrics):
            for step, value in points:
                lines.setdefault(step, {f"step/{record.kind}": step})[f"{name}/{record.kind}"] = value
        yield from (lines[step] for step in sorted(lines))
