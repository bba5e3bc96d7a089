"""`xlharm judge`: do the grid's judges agree with each other and with people?"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, StoreUrl, open_grid, terminal


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Judges: agreement with each other and with people.", no_args_is_help=True)
    group.command("agreement")(agreement)
    group.command("sheet")(sheet)
    app.add_typer(group, name="judge")


def agreement(
    grid: GridPath,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    human: Annotated[Path | None, typer.Option(help="The annotators' CSV (from `judge sheet`), filled in.")] = None,
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format")] = "table",
) -> None:
    """Compare matching, the grid's judges and human labels: kappa with its 95 % interval for each language."""
    from xlharm.analysis.agreement import agreement as compare
    from xlharm.analysis.table import render
    from xlharm.report.terminal import print_view

    session = open_grid(grid, store=store, overrides=overrides)
    table = compare(session.grid.stored(), human=human)
    if form == "table":
        print_view(table, terminal(), name="agreement")
    else:
        sys.stdout.write(render(table, form=form).decode("utf-8"))


def sheet(
    grid: GridPath,
    out: Annotated[Path, typer.Argument(help="CSV file to write.")],
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    each: Annotated[int, typer.Option(min=1, help="Answers for each language and measure.")] = 50,
) -> None:
    """Write a CSV for annotators: fill the column `human` with yes or no, then `judge agreement --human FILE`.

    yes: the answer states the expected detail (of), or is right (qr).
    """
    from xlharm.analysis.agreement import sheet as draw
    from xlharm.analysis.kappa import write_sheet

    session = open_grid(grid, store=store, overrides=overrides)
    rows = list(draw(session.grid.stored(), per_language=each))
    write_sheet(rows, out)
    typer.echo(f"{out}: {len(rows)} answers")
