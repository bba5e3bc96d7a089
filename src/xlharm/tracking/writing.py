"""One run written to W&B, online or to a folder on this machine."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xlharm.tracking.mirror import Run
from xlharm.tracking.references import Artifact
from xlharm.tracking.tables import CURVES, Sheet

START_SECONDS = 30
FINISH_SECONDS = 120
MOST_ROWS = 200_000
"""Rows of a table that W&B shows; a longer one is sent in parts."""
_TOO_MANY = 429
_FATAL = "ERROR+4"  # the level at which W&B's core notes that it drops a run's data


class NotSentError(Exception):
    """W&B's core has ended a run without sending all of its data."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where runs go."""

    folder: Path
    project: str
    entity: str | None
    group: str


def write(run: Run, *, target: Target, mode: Literal["online", "offline"]) -> Path:
    """Write a run, or what a run of its id lacks; return its folder on this machine.

    Raises:
        Exception: W&B did not take it; its errors have no common class.
    """
    with _opened(run, target=target, mode=mode) as opened:
        opened.config.update(run.config, allow_val_change=True)
        for kind in sorted({name.partition("/")[2] for point in run.history for name in point}):
            opened.define_metric(f"step/{kind}", hidden=True)
            for name in CURVES:
                opened.define_metric(f"{name}/{kind}", step_metric=f"step/{kind}")
        # The id contains the model's key, so an earlier sync sent a beginning of this curve; the server says how much.
        for step, point in enumerate(run.history):
            if step >= opened.step:
                opened.log(point, step=step)
        if run.tables:
            opened.log(dict(_parts(run.tables)))
        opened.summary.update(run.summary)
        if run.answers:
            opened.summary.update(dict(_parts({"answers": run.answers()})))  # no line of the history, which is curves
        for artifact in run.artifacts:
            opened.log_artifact(_by_reference(artifact))
        folder = Path(opened.dir).parent
    if mode == "online" and any(line.get("level") == _FATAL for line in _core_log(folder)):
        raise NotSentError
    return folder


def folders_of(run: Run, prefix: Literal["run", "offline-run"], *, target: Target) -> list[Path]:
    """Return the folders on this machine that W&B has made of a run, in their order; of one second, with a number."""
    wandb = target.folder / "wandb"
    return sorted([*wandb.glob(f"{prefix}-*-{run.id}"), *wandb.glob(f"{prefix}-*-{run.id}-[0-9]*")])


def too_many_requests(run: Run, *, target: Target) -> bool:
    """Whether the server's last refusal of a run was "too many requests"."""
    folders = folders_of(run, "run", target=target)
    statuses = [line["status"] for line in _core_log(folders[-1]) if "status" in line] if folders else []
    return bool(statuses) and statuses[-1] == _TOO_MANY


def _parts(tables: dict[str, Sheet]) -> Iterator[tuple[str, Any]]:
    """Yield W&B's tables by name; one of more rows than W&B shows goes on in NAME_2 and so on."""
    import wandb

    wandb.Table.MAX_ROWS = MOST_ROWS  # by itself W&B cuts the table of a run to 10,000 rows
    for name, sheet in tables.items():
        for part, first in enumerate(range(0, max(1, len(sheet.rows)), MOST_ROWS), start=1):
            rows = sheet.rows[first : first + MOST_ROWS]
            yield name if part == 1 else f"{name}_{part}", _table(Sheet(columns=sheet.columns, rows=rows))


def _table(sheet: Sheet) -> Any:
    """Return W&B's table, whose types it infers from rows that hold each type of each column.

    It would take 10 seconds to look at 20,000 rows of results.
    """
    import wandb

    seen: set[tuple[int, type]] = set()
    typical = []
    for row in sheet.rows:
        new = {(i, type(value)) for i, value in enumerate(row)} - seen
        if new:
            seen |= new
            typical.append(row)
    table = wandb.Table(columns=sheet.columns, data=typical)
    table.data = sheet.rows
    return table


def _by_reference(artifact: Artifact) -> Any:
    import wandb

    files = {file.name: {"sha256": file.sha256, "size": file.size} for file in artifact.files}
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", artifact.name)
    made = wandb.Artifact(name, type=artifact.type, metadata={"files": files, "store": artifact.store})
    for file in artifact.files:
        made.add_reference(file.address, name=file.name, checksum=False)
    return made


def _core_log(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of the log that W&B's core writes of a run: what it does not raise stands there only."""
    path = folder / "logs" / "debug-internal.log"
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # a line of something else, or half of one
            continue
        if isinstance(entry, dict):
            yield entry


@contextmanager
def _opened(run: Run, *, target: Target, mode: Literal["online", "offline"]) -> Iterator[Any]:
    import wandb

    wandb.termsetup(_settings(), None)  # it would print a line for each reference
    opened = wandb.init(
        id=run.id,
        name=run.name,
        job_type=run.kind,
        tags=run.tags,
        mode=mode,
        dir=str(target.folder),
        project=target.project,
        entity=target.entity,
        group=target.group,
        resume="allow",
        reinit="create_new",  # leaves a run that the caller may have open alone
        settings=_settings(),
    )
    try:
        yield opened
    except BaseException:
        opened.finish(exit_code=1)
        raise
    opened.finish()


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
        init_timeout=START_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )
