"""W&B as a mirror of the store: rebuilt from it at any time, never asked for anything.

One aggregator run for each grid holds the results table and the matrices; one run for each cell holds its settings,
its numbers and its training losses. Ids follow from the grid and the models, so a second sync overwrites the first.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from xlharm.errors import CorruptArtifactError, UserError
from xlharm.plan.build import Cell, Plan
from xlharm.plan.digest import digest
from xlharm.report.headline import headline
from xlharm.report.panels import groups_of
from xlharm.report.reading import Readings
from xlharm.report.table import collect
from xlharm.report.text import shown_source
from xlharm.spec.grid import NONE
from xlharm.store.record import Record
from xlharm.store.store import Store

Mode = Literal["online", "offline", "off"]
_LOG = logging.getLogger(__name__)
_START_SECONDS = 30
_FINISH_SECONDS = 120
_POINTS = "history/points"


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Where runs go."""

    mode: Literal["online", "offline"]
    folder: Path
    project: str
    entity: str | None
    group: str


def sync(
    plan: Plan,
    store: Store,
    *,
    mode: Mode = "online",
    folder: Path | None = None,
    project: str = "xlharm",
    entity: str | None = None,
) -> list[Path]:
    """Mirror a grid's results to W&B, as far as the grid is done.

    ``online`` without a login, with ``WANDB_MODE=offline`` or without an answer from the server becomes ``offline``;
    there is no prompt.

    Args:
        plan: the grid.
        store: its results.
        mode: where to.
        folder: offline runs go to its ``wandb`` folder; the working directory by default.
        project: W&B project.
        entity: W&B team or user; the account's default when None.

    Returns:
        The runs' folders on this machine, the aggregator's first; none when the mode is ``off``.

    Raises:
        UserError: the folder cannot be made.
    """
    actual = _actual_mode(mode)
    if actual is None:
        return []
    target = _Target(
        mode=actual,
        folder=_made(folder or Path.cwd()),
        project=project,
        entity=entity,
        group=f"{plan.grid.name}-{_grid_digest(plan)[:8]}",
    )
    jobs = [_grid_job(plan, store), *_cell_jobs(plan, store)]
    return _send(jobs, target=target)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One run: who it is, and what it is told once it is open."""

    id: str
    name: str
    kind: str
    config: dict[str, Any]
    tell: Callable[[Any], None]


def _send(jobs: list[_Job], *, target: _Target) -> list[Path]:
    import wandb

    folders = []
    for job in jobs:
        try:
            folders.append(_run(job, target=target))
        except (wandb.Error, TimeoutError, OSError) as error:
            if target.mode == "offline":
                raise UserError(f"W&B: no offline run in {target.folder}: {type(error).__name__}") from None
            # the error's text may quote the request, so only its kind is told
            _LOG.warning("W&B does not answer (%s); the mirror is written offline", type(error).__name__)
            return _send(jobs, target=_offline(target))
    return folders


def _offline(target: _Target) -> _Target:
    return _Target(
        mode="offline", folder=target.folder, project=target.project, entity=target.entity, group=target.group
    )


def _run(job: _Job, *, target: _Target) -> Path:
    with _opened(job, target=target) as run:
        job.tell(run)
        return Path(run.dir).parent


@contextmanager
def _opened(job: _Job, *, target: _Target) -> Iterator[Any]:
    import wandb

    if target.mode == "offline":  # an earlier mirror of the same run, replaced by this one
        for old in (target.folder / "wandb").glob(f"offline-run-*-{job.id}"):
            shutil.rmtree(old)
    run = wandb.init(
        id=job.id,
        name=job.name,
        job_type=job.kind,
        config=job.config,
        mode=target.mode,
        dir=str(target.folder),
        project=target.project,
        entity=target.entity,
        group=target.group,
        resume="allow",
        reinit="create_new",  # leaves a run that the caller may have open alone
        settings=_settings(),
    )
    try:
        run.config.update(job.config, allow_val_change=True)
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def _settings() -> Any:
    """Send results alone: no console, no code, no machine description; and wait for nobody for long."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_save_requirements=False,
        init_timeout=_START_SECONDS,
        finish_timeout=_FINISH_SECONDS,
    )


def _actual_mode(mode: Mode) -> Literal["online", "offline"] | None:
    if mode not in ("online", "offline", "off"):
        raise UserError(f"--wandb {mode}: expected online, offline or off")
    if mode != "online":
        return None if mode == "off" else "offline"
    environment = os.environ.get("WANDB_MODE", "").lower()
    if environment == "disabled":
        return None
    if environment in {"offline", "dryrun"} or not _logged_in():
        return "offline"
    return "online"


def _logged_in() -> bool:
    import wandb

    try:
        wandb.setup(settings=wandb.Settings(silent=True))
        return bool(wandb.login(prompt=False, verify=False))
    except wandb.Error as error:
        _LOG.warning("W&B login cannot be used (%s); the mirror is written offline", type(error).__name__)
        return False


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made for W&B runs: {error.strerror or error}") from None
    return folder


def _grid_digest(plan: Plan) -> str:
    sources = plan.sources
    return digest(
        {
            "grid": plan.grid.model_dump(mode="json"),
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


def _grid_job(plan: Plan, store: Store) -> _Job:
    results = collect(plan, store).table
    readings = Readings.of_table(results)

    def tell(run: Any) -> None:
        import wandb

        rows = [list(row.values()) for row in results.to_pylist()]
        tables = {"results": wandb.Table(columns=results.column_names, data=rows)}
        for measure in ("of", "qr"):
            columns, lines = _matrix(plan, readings, measure=measure)
            tables[measure] = wandb.Table(columns=columns, data=lines)
        run.log(tables)
        told = {"evaluations": results.num_rows, "evaluations_planned": sum(len(c.evaluations) for c in plan.cells)}
        run.summary.update({**told, "headline": headline(groups_of(plan, readings), readings)})

    spec = plan.grid
    axes = {
        "languages": list(spec.languages),
        "contaminate": list(spec.contaminate),
        "unlearn": {name: list(languages) for name, languages in spec.unlearn.items()},
        "methods": {name: method.model_dump(mode="json") for name, method in spec.methods.items()},
        "seeds": list(spec.seeds),
    }
    ident = digest({"grid": spec.name, "digest": _grid_digest(plan)})[:16]
    return _Job(id=ident, name=spec.name, kind="grid", config={**_common(plan), **axes}, tell=tell)


def _matrix(plan: Plan, readings: Readings, *, measure: str) -> tuple[list[str], list[list[Any]]]:
    """Return columns and rows: cells down, query languages across, percentages or None."""
    lines: list[list[Any]] = []
    for c in plan.cells:
        found = [readings.get(c.contaminate, c.unlearn, c.method, c.seed, q) for q in plan.grid.languages]
        rates = [(r.of if measure == "of" else r.qr) if r else None for r in found]
        if any(rates):
            lines.append([c.contaminate, c.unlearn, c.method, c.seed, *(x.value if x else None for x in rates)])
    return ["contaminate", "unlearn", "method", "seed", *plan.grid.languages], lines


def _cell_jobs(plan: Plan, store: Store) -> Iterator[_Job]:
    """Yield a job for every cell of which anything is done."""
    readings = Readings.of_table(collect(plan, store).table)
    done = store.done(plan.stages)
    records: dict[str, Record] = {}
    for key in done:
        stage = plan.stages[key]
        if stage.kind != "evaluate":
            try:
                records[key] = store.record(stage.kind, key)
            except CorruptArtifactError:
                continue  # it will be computed again; the next sync has it
    for cell in plan.cells:
        trained = [records[key] for key in cell.lineage if key in records]
        summary = _summary(cell, plan, readings)
        if trained or summary:
            yield _cell_job(cell, plan, trained=trained, summary=summary)


def _cell_job(cell: Cell, plan: Plan, *, trained: list[Record], summary: dict[str, float]) -> _Job:
    points = list(_history(trained))

    def tell(run: Any) -> None:
        run.define_metric("step/*", hidden=True)
        for kind in dict.fromkeys(record.kind for record in trained):
            run.define_metric(f"loss/{kind}", step_metric=f"step/{kind}")
            run.define_metric(f"retain_loss/{kind}", step_metric=f"step/{kind}")
        # the id contains the model's key, so an earlier sync's curve is this curve: it is not drawn twice
        if not (run.resumed and run.summary.get(_POINTS) == len(points)):
            for point in points:
                run.log(point)
        run.summary.update({**summary, _POINTS: len(points)})

    method = plan.grid.methods.get(cell.method)
    config = {
        **_common(plan),
        "cell": cell.name,
        "contaminate": cell.contaminate,
        "unlearn": cell.unlearn,
        "method": cell.method,
        "seed": cell.seed,
        "method_settings": method.model_dump(mode="json") if method and cell.method != NONE else None,
        "model": cell.model,
    }
    ident = digest({"grid": plan.grid.name, "cell": cell.name, "model": cell.model})[:16]
    return _Job(id=ident, name=cell.name, kind="cell", config=config, tell=tell)


def _summary(cell: Cell, plan: Plan, readings: Readings) -> dict[str, float]:
    found: dict[str, float] = {}
    means: dict[str, list[float]] = {"of": [], "qr": []}
    for query in plan.grid.languages:
        reading = readings.get(cell.contaminate, cell.unlearn, cell.method, cell.seed, query)
        if reading is None:
            continue
        for measure, rate in (("of", reading.of), ("qr", reading.qr)):
            if rate:
                found[f"{measure}/{query}"] = rate.value
                means[measure].append(rate.value)
        for flag, value in (("off_language", reading.off_language), ("degenerate", reading.degenerate)):
            if value is not None:
                found[f"{flag}/{query}"] = value
    return found | {f"{measure}/mean": round(fmean(values), 2) for measure, values in means.items() if values}


def _history(trained: list[Record]) -> Iterator[dict[str, float]]:
    """Yield one log line for each kept training step of the lineage, stage by stage."""
    for record in trained:
        lines: dict[float, dict[str, float]] = {}
        for name in ("loss", "retain_loss"):
            for step, value in record.metrics.get(name) or ():
                lines.setdefault(step, {f"step/{record.kind}": step})[f"{name}/{record.kind}"] = value
        yield from (lines[step] for step in sorted(lines))
