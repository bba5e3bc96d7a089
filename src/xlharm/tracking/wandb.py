"""W&B as a mirror of the store: rebuilt from it at any time, never asked for results.

One aggregator run for each grid holds the tables; one run for each cell holds its settings, its numbers, its curves and
its answers. Ids follow from the grid and the models, and each point of a curve has its own step, so a second sync adds
what is new and doubles nothing. What was sent is remembered in ``tracking.sent``.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from xlharm.analysis.results import GridResults
from xlharm.errors import StoreError, UserError
from xlharm.tracking.mirror import Run, cell_runs, grid_run, group_of, runs_of
from xlharm.tracking.sent import Sent
from xlharm.tracking.writing import Target, folders_of, too_many_requests, write
from xlharm.visible import one_line

Mode = Literal["online", "offline", "off"]
_LOG = logging.getLogger(__name__)
_PROJECT = "xlharm"
_WAITS = (15.0, 60.0, 240.0)  # seconds before a run is sent again after "too many requests"
_EVERY = 30.0  # seconds between two looks at a store that is followed
_TABLES_EVERY = 300.0  # seconds between two sendings of its tables, which cost computing, traffic and space
_LONGEST_WAIT = 600.0


def sync(
    results: GridResults,
    *,
    mode: Mode = "online",
    folder: Path | None = None,
    project: str | None = None,
    entity: str | None = None,
    page: Path | None = None,
    cells: bool = True,
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
        page: the grid's HTML page, which is named with its checksum.
        cells: whether the runs of cells are sent, beside the aggregator's.

    Returns:
        The folders on this machine of the runs that were written, the aggregator's first; none when the mode is
        ``off``.

    Raises:
        UserError: an unknown mode, a project or entity that W&B does not allow, or nothing can be written to the
            folder.
    """
    actual = actual_mode(mode)
    if actual is None:
        return []
    target = _target(results, folder=folder, project=project, entity=entity)
    runs = runs_of(results, page=page) if cells else [grid_run(results, page=page)]
    if actual == "offline":
        return [_write(run, target=target) for run in runs]
    folders, left, error = _send(runs, target=target)
    if not left:
        return folders
    # the error's text may quote the request, so only its kind is told
    _LOG.warning(
        "W&B does not take what is sent (%s): %d runs were sent, %d are written offline to %s; the next sync "
        "sends them", error, len(folders), len(left), target.folder / "wandb",
    )  # fmt: skip
    _remove(left[0], "run", target=target)
    return folders + [_write(run, target=target) for run in left]


def follow(
    read: Callable[[], GridResults],
    *,
    ended: Callable[[float], bool],
    folder: Path | None = None,
    project: str | None = None,
    entity: str | None = None,
    page: Path | None = None,
) -> int:
    """Send what is new in a store again and again, until its grid is finished or somebody says that it is over.

    The store is the queue: what W&B has not taken is found in it again, so nothing waits in memory. After an error the
    pauses grow, up to ten minutes. Nothing is written offline.

    Args:
        read: reads the grid's results as they are now.
        ended: waits for so many seconds or until it is over, and says whether it is; then all is sent once more.
        folder: as for ``sync``.
        project: as for ``sync``.
        entity: as for ``sync``.
        page: as for ``sync``; sent when it is there.

    Returns:
        How many runs W&B has not taken.

    Raises:
        UserError: as ``sync``.
        StoreError: the store cannot be read when it is over.
    """
    failures, tables_sent = 0, -_TABLES_EVERY
    while True:
        last, began = ended(0.0), time.monotonic()
        try:
            results = read()
        except StoreError as problem:
            _LOG.warning("%s", problem)
            if last:
                raise
            failures += 1
            ended(_pause(began, failures))
            continue
        target = _target(results, folder=folder, project=project, entity=entity)
        finished = results.done >= results.plan.stages.keys()
        runs = cell_runs(results)
        if last or finished or began - tables_sent >= _TABLES_EVERY:
            runs.append(grid_run(results, page=page))
        folders, left, error = _send(runs, target=target)
        if not left and runs and runs[-1].kind == "grid":
            tables_sent = began
        _LOG.info("%d runs sent, %d left%s", len(folders), len(left), f" ({error})" if error else "")
        if last or (finished and not left):
            return len(left)
        failures = failures + 1 if left else 0
        ended(_pause(began, failures))


def _pause(began: float, failures: int) -> float:
    """Return the seconds until the next look: at least as many as this one took, and more after each failure."""
    return min(max(_EVERY, time.monotonic() - began) * 2.0**failures, _LONGEST_WAIT)


def unsent(
    results: GridResults, *, folder: Path | None = None, project: str | None = None, entity: str | None = None
) -> tuple[int, int]:
    """Return how many of a grid's runs W&B does not have as they are in the store, and how many there are."""
    target = _target(results, folder=folder, project=project, entity=entity)
    sent, runs = _sent(target), runs_of(results)
    return sum(not sent.has(run) for run in runs), len(runs)


def checked_project(name: str | None) -> str:
    """Return the project to send to: the one named, else that of ``WANDB_PROJECT``, else ``xlharm``.

    Raises:
        UserError: W&B does not allow the name.
    """
    import wandb

    chosen = name or os.environ.get("WANDB_PROJECT") or _PROJECT
    try:
        wandb.Settings(project=chosen)
    except (ValueError, wandb.Error) as error:
        reason = one_line(str(error), most=200)
        raise UserError(f"--project {one_line(chosen, most=60)}: {reason}") from None
    return chosen


def actual_mode(mode: Mode) -> Literal["online", "offline"] | None:
    """Return what a mode comes to here: offline without a login or by ``WANDB_MODE``, None for off.

    Raises:
        UserError: an unknown mode.
    """
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


def _target(results: GridResults, *, folder: Path | None, project: str | None, entity: str | None) -> Target:
    return Target(
        folder=_made(folder or Path.cwd()),
        project=checked_project(project),
        entity=entity or os.environ.get("WANDB_ENTITY") or None,
        group=group_of(results.plan),
    )


def _sent(target: Target) -> Sent:
    import wandb

    return Sent.read(target.folder / "wandb", to=(wandb.setup().settings.base_url, target.entity, target.project))


def _send(runs: list[Run], *, target: Target) -> tuple[list[Path], list[Run], str]:
    """Send runs that are not at W&B as they are now, up to the first that does not arrive.

    Returns:
        The folders of the runs that were sent, the runs that are left, and the kind of error that left them.
    """
    import wandb

    sent = _sent(target)
    todo = [run for run in runs if not sent.has(run)]
    if len(todo) < len(runs):
        _LOG.info("%d of %d runs are at W&B as they are now", len(runs) - len(todo), len(runs))
    folders: list[Path] = []
    for done, run in enumerate(todo):
        try:
            folder = _sent_folder(run, target=target)
        except Exception as error:  # noqa: BLE001 - its errors have no common class, and none may cost results
            wandb.teardown()  # its service would refuse the ids of runs that it failed to open
            return folders, todo[done:], type(error).__name__
        sent.add(run)
        folders.append(folder)
        _remove(run, "offline-run", target=target)
        _remove(run, "run", target=target, but=folder)
    return folders, [], ""


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


def _remove(run: Run, prefix: Literal["run", "offline-run"], *, target: Target, but: Path | None = None) -> None:
    for folder in folders_of(run, prefix, target=target):
        if folder != but:
            shutil.rmtree(folder, ignore_errors=True)


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
