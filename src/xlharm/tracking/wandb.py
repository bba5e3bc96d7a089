"""W&B as a mirror of the store: rebuilt from it at any time, never asked for results.

One aggregator run for each grid holds the results table and the matrices; one run for each cell holds its settings,
its numbers and its training losses. Ids follow from the grid and the models, and each point of a curve has its own
step, so a second sync adds what is new and doubles nothing. What was sent is remembered in ``tracking.sent``.
"""

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Literal

from xlharm.analysis.results import GridResults
from xlharm.errors import UserError
from xlharm.tracking.mirror import Run, group_of, runs_of
from xlharm.tracking.sent import Sent
from xlharm.tracking.writing import Target, too_many_requests, write
from xlharm.visible import one_line

Mode = Literal["online", "offline", "off"]
_LOG = logging.getLogger(__name__)
_PROJECT = "xlharm"
_WAITS = (15.0, 60.0, 240.0)  # seconds before a run is sent again after "too many requests"


def sync(
    results: GridResults,
    *,
    mode: Mode = "online",
    folder: Path | None = None,
    project: str | None = None,
    entity: str | None = None,
) -> list[Path]:
    """Mirror a grid's results to W&B, as far as the grid is done.

    Runs that were sent before and have not changed are not sent again. ``online`` without a login, with
    ``WANDB_MODE=offline`` or without an answer from the server becomes ``offline``; there is no prompt. The first run
    that the server does not take within ``FINISH_SECONDS`` ends the attempts: it and all later runs are written
    offline.

    Args:
        results: of the grid.
        mode: where to.
        folder: runs are written to its ``wandb`` folder; the working directory by default.
        project: W&B project; None takes ``WANDB_PROJECT``, or ``xlharm``.
        entity: W&B team or user; None takes ``WANDB_ENTITY``, or the account's default.

    Returns:
        The folders on this machine of the runs that were written, the aggregator's first; none when the mode is
        ``off``.

    Raises:
        UserError: an unknown mode, a project or entity that W&B does not allow, or nothing can be written to the
            folder.
    """
    actual = _actual_mode(mode)
    if actual is None:
        return []
    target = Target(
        folder=_made(folder or Path.cwd()),
        project=_project(project),
        entity=entity or os.environ.get("WANDB_ENTITY") or None,
        group=group_of(results.plan),
    )
    runs = runs_of(results)
    if actual == "offline":
        return [_write(run, target=target) for run in runs]
    return _send(runs, target=target)


def _project(name: str | None) -> str:
    import wandb

    chosen = name or os.environ.get("WANDB_PROJECT") or _PROJECT
    try:
        wandb.Settings(project=chosen)
    except (ValueError, wandb.Error) as error:
        reason = one_line(str(error), most=200)
        raise UserError(f"--project {one_line(chosen, most=60)}: {reason}") from None
    return chosen


def _send(runs: list[Run], *, target: Target) -> list[Path]:
    """Send runs that are not at W&B as they are now; from the first that does not arrive on, write them offline."""
    import wandb

    sent = Sent.read(target.folder / "wandb", to=(wandb.setup().settings.base_url, target.entity, target.project))
    todo = [run for run in runs if not sent.has(run)]
    if len(todo) < len(runs):
        _LOG.info("%d of %d runs are at W&B as they are now", len(runs) - len(todo), len(runs))
    folders = []
    for done, run in enumerate(todo):
        try:
            folders.append(_sent_folder(run, target=target))
        except Exception as error:  # noqa: BLE001 - its errors have no common class, and none may cost results
            wandb.teardown()  # its service would refuse the ids of runs that it failed to open
            # the error's text may quote the request, so only its kind is told
            _LOG.warning(
                "W&B does not take what is sent (%s): %d runs were sent, %d are written offline to %s; the next sync "
                "sends them", type(error).__name__, done, len(todo) - done, target.folder / "wandb",
            )  # fmt: skip
            _remove(run, "run", target=target)
            return folders + [_write(left, target=target) for left in todo[done:]]
        sent.add(run)
        _remove(run, "offline-run", target=target)
    return folders


def _sent_folder(run: Run, *, target: Target) -> Path:
    """Send a run; where the server asks for fewer requests, wait and send the rest of it again."""
    import wandb

    for seconds in _WAITS:
        try:
            return write(run, target=target, mode="online")
        except Exception as error:
            if not too_many_requests(run, target=target):
                raise
            _LOG.warning("W&B asks for fewer requests (%s): going on in %g s", type(error).__name__, seconds)
            wandb.teardown()
            time.sleep(seconds)
    return write(run, target=target, mode="online")


def _write(run: Run, *, target: Target) -> Path:
    _remove(run, "offline-run", target=target)  # an earlier mirror of the same run, replaced by this one
    try:
        return write(run, target=target, mode="offline")
    except Exception as error:  # noqa: BLE001 - W&B's errors have no common class
        raise UserError(f"{target.folder}: W&B cannot write a run there: {type(error).__name__}") from None


def _remove(run: Run, prefix: Literal["run", "offline-run"], *, target: Target) -> None:
    for folder in (target.folder / "wandb").glob(f"{prefix}-*-{run.id}"):
        shutil.rmtree(folder, ignore_errors=True)


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
