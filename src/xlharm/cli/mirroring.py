"""`xlharm wandb`: the mirror of a store in Weights & Biases, and dashboards that compare grids."""

import logging
import os
import select
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, Session, StoreUrl, open_grid, split_grid
from xlharm.errors import UserError

Project = Annotated[str | None, typer.Option(help="W&B project. Default: $WANDB_PROJECT, or xlharm.")]
Entity = Annotated[str | None, typer.Option(help="W&B team or user. Default: $WANDB_ENTITY, or the account's own.")]
Folder = Annotated[Path | None, typer.Option(help="Where W&B's files go; default: here.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    mirror = typer.Typer(help="Weights & Biases: a mirror of the store, and dashboards.", no_args_is_help=True)
    mirror.command("sync")(sync)
    mirror.command("dashboard")(dashboard)
    app.add_typer(mirror, name="wandb")


def sync(
    grid: GridPath,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    mode: Annotated[
        Literal["online", "offline"], typer.Option(help="online means offline unless logged in.")
    ] = "online",
    folder: Folder = None,
    project: Project = None,
    entity: Entity = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The grid's HTML page, to be named with its checksum.")
    ] = None,
    following: Annotated[
        bool,
        typer.Option("--follow", help="Send what is new every half minute, until the grid is finished or input ends."),
    ] = False,
) -> None:
    """Rebuild the grid's W&B runs from the store: one with the tables, one for each cell.

    Runs that W&B has received before are sent again only if they have changed. Which ones it has is remembered in
    wandb/xlharm-sent.jsonl; delete this file to send everything. Exit codes: 0, and with --follow 1 if W&B has not
    taken everything.

    \b
    xlharm wandb sync grid/quickstart.yaml
    xlharm wandb sync grid/quickstart.yaml --follow    beside a run, for example one on a cluster
    """
    from xlharm.tracking.wandb import sync as mirror

    session = open_grid(grid, store=store, overrides=overrides, may_be_empty=following)
    if following:
        raise typer.Exit(_follow(session, folder=folder, project=project, entity=entity, page=page))
    folders = mirror(session.grid.stored(), mode=mode, folder=folder, project=project, entity=entity, page=page)
    for run in folders:
        typer.echo(str(run))
    if not folders:
        typer.echo("nothing to send: W&B has every run as it is in the store", err=True)


def _follow(
    session: Session, *, folder: Path | None, project: str | None, entity: str | None, page: Path | None
) -> int:
    from xlharm.tracking.wandb import actual_mode, follow

    if actual_mode("online") != "online":
        raise UserError("--follow needs W&B itself: log in with `wandb login`, and unset WANDB_MODE")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("xlharm").setLevel(logging.INFO)
    os.nice(10)  # a run on this machine comes first
    left = follow(
        session.grid.stored, ended=_input_ends, folder=folder, project=project, entity=entity, page=page
    )  # fmt: skip
    return 1 if left else 0


def _input_ends(seconds: float) -> bool:
    """Wait for so many seconds, or until standard input ends; return whether it has."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not os.read(sys.stdin.fileno(), 4096)


def dashboard(
    grids: Annotated[
        list[str],
        typer.Argument(metavar="GRID [GRID ...]", help="Grid files; FILE@STORE if its results are in another store."),
    ],
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Of both; default: the grids' names.", show_default=False)] = None,
    folder: Folder = None,
    project: Project = None,
    entity: Entity = None,
) -> None:
    """Make a W&B workspace and a W&B report that compare grids side by side, or update those of the same name.

    First what W&B lacks of the grids is sent, as by `xlharm wandb sync`. Both show findings, heatmaps of OF
    (occurrence of the fake) and QR (quality on the real) for each unlearning set, OF against QR by method, curves by
    stage and the grids' settings. They are drawn from the tables of one run for each grid; of more than 500 runs,
    single cells are neither sent nor shown. An update replaces panels that were changed by hand: keep such a page
    under another name. Needs xlharm[dashboards] and a W&B login.

    \b
    xlharm wandb dashboard grid/quickstart.yaml
    xlharm wandb dashboard grid/llama.yaml grid/bloom.yaml@s3://bucket/store --name "two bases"
    """
    from xlharm.tracking.dashboard import check, limited
    from xlharm.tracking.dashboard import dashboard as made
    from xlharm.tracking.wandb import actual_mode, checked_project
    from xlharm.tracking.wandb import sync as mirror

    named = [split_grid(text, store=store) for text in grids]
    opened = [open_grid(path, store=where, overrides=overrides).grid.stored() for path, where in named]
    check(opened, name=name)
    if actual_mode("online") != "online":
        raise UserError("dashboards need W&B itself: log in with `wandb login`, and unset WANDB_MODE")
    for results in opened:
        written = mirror(results, folder=folder, project=project, entity=entity, cells=not limited(opened))
        if any(path.name.startswith("offline-run-") for path in written):
            raise UserError("W&B did not take the grids' runs, which the dashboards show: run the command again later")
    pages = made(opened, project=checked_project(project), entity=entity, name=name)
    typer.echo(f"workspace: {pages.workspace}")
    typer.echo(f"report: {pages.report}")
