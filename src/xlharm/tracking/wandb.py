"""W&B as a mirror of the store: rebuilt from it at any time, never asked for anything.

One aggregator run for each grid holds the results table and the matrices; one run for each cell holds its settings,
its numbers and its training losses. Ids follow from the grid and the models, so a second sync overwrites the first.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from xlharm.analysis.results import GridResults
from xlharm.errors import UserError
from xlharm.tracking.mirror import Run, group_of, runs_of

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
    results: GridResults,
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
        results: of the grid.
        mode: where to.
        folder: runs are written to its ``wandb`` folder; the working directory by default.
        project: W&B project.
        entity: W&B team or user; the account's default when None.

    Returns:
        The runs' folders on this machine, the aggregator's first; none when the mode is ``off``.

    Raises:
        UserError: an unknown mode, or nothing can be written to the folder.
    """
    actual = _actual_mode(mode)
    if actual is None:
        return []
    where = _made(folder or Path.cwd())
    target = _Target(mode=actual, folder=where, project=project, entity=entity, group=group_of(results.plan))
    return _send(runs_of(results), target=target)


def _send(runs: list[Run], *, target: _Target) -> list[Path]:
    import wandb

    folders = []
    for run in runs:
        try:
            folders.append(_tell(run, target=target))
        except Exception as error:  # noqa: BLE001 - its errors have no common class, and none may cost results
            if target.mode == "offline":
                raise UserError(f"{target.folder}: W&B cannot write a run there: {type(error).__name__}") from None
            # the error's text may quote the request, so only its kind is told
            _LOG.warning("W&B does not answer (%s); the mirror is written offline", type(error).__name__)
            wandb.teardown()  # its service would refuse the ids of runs that it failed to open
            return _send(runs, target=replace(target, mode="offline"))
    return folders


def _tell(run: Run, *, target: _Target) -> Path:
    import wandb

    with _opened(run, target=target) as opened:
        opened.config.update(run.config, allow_val_change=True)
        for kind in sorted({name.partition("/")[2] for point in run.history for name in point}):
            opened.define_metric(f"step/{kind}", hidden=True)
            for name in ("loss", "retain_loss"):
                opened.define_metric(f"{name}/{kind}", step_metric=f"step/{kind}")
        # the id contains the model's key, so the curve of an earlier sync is this curve: it is not drawn twice
        if not (opened.resumed and opened.summary.get(_POINTS) == len(run.history)):
            for point in run.history:
                opened.log(point)
        if run.tables:
            opened.log({n: wandb.Table(columns=t.columns, data=t.rows) for n, t in run.tables.items()})
        opened.summary.update({**run.summary, _POINTS: len(run.history)})
        return Path(opened.dir).parent


@contextmanager
def _opened(run: Run, *, target: _Target) -> Iterator[Any]:
    import wandb

    if target.mode == "offline":  # an earlier mirror of the same run, replaced by this one
        for old in (target.folder / "wandb").glob(f"offline-run-*-{run.id}"):
            shutil.rmtree(old)
    opened = wandb.init(
        id=run.id,
        name=run.name,
        job_type=run.kind,
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
    except (wandb.Error, ValueError) as error:  # a key of the wrong form; its text is not repeated
        _LOG.warning("the W&B login cannot be used (%s); the mirror is written offline", type(error).__name__)
        return False


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made for W&B runs: {error.strerror or error}") from None
    return folder
