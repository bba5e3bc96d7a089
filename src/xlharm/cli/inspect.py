"""`xlharm results`, `report` and `ask`: look at what is stored."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, StoreUrl, open_grid, terminal
from xlharm.errors import UserError
from xlharm.visible import visible

if TYPE_CHECKING:
    import pyarrow as pa

    from xlharm.analysis.results import GridResults
    from xlharm.report.answers import Answers


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("results")(results)
    app.command("report")(report)
    app.command("ask")(ask)


def _form_of(out: Path | None) -> Literal["table", "csv", "json", "parquet"]:
    match out.suffix if out else None:
        case None:
            return "table"
        case ".csv":
            return "csv"
        case ".json":
            return "json"
        case ".parquet":
            return "parquet"
    raise UserError(f"--out {out}: say --format csv, json or parquet, or end the name with one of them")


def results(
    grid: GridPath,
    cells: Annotated[
        list[str] | None, typer.Argument(metavar="[A B]", help="Two cells, for --view contrast.", show_default=False)
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    form: Annotated[
        Literal["table", "csv", "json", "parquet"] | None,
        typer.Option("--format", help="Default: by --out's name, else table. parquet is always a file."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to a .csv, .json or .parquet file instead.")] = None,
    view: Annotated[
        Literal[
            "cells",
            "findings",
            "burden",
            "effects",
            "methods",
            "transfer",
            "distance",
            "probes",
            "attribution",
            "halflife",
            "leaks",
            "harms",
            "scores",
            "judges",
            "seeds",
            "signatures",
            "contrast",
        ],
        typer.Option(help="What to look at."),
    ] = "cells",
    each_seed: Annotated[
        bool, typer.Option("--each-seed", help="Show the table of each seed; default: all seeds together.")
    ] = False,
) -> None:
    """Show one row per cell and query language: OF and QR (0 to 100) with 95 % intervals over items.

    OF counts answers with the fake detail, QR right answers on real details. Read OF only beside QR: a model
    that answers nothing has OF 0, too.

    \b
    --view findings    the study's claims: holds, does not hold, or cannot be decided
    --view burden      what is left to each language and what it cost, the worst off, the gap low/high resource
    --view effects     OF after against before and the control, paired by item
    --view methods     methods ranked by OF among those that kept QR
    --view transfer    spill, spread and asymmetry of the contaminate x query matrix
    --view distance    spread and transfer against distances between languages, with permutation tests
    --view probes      relearned, trained on, quantised, reworded, steered: against the usual questions
    --view attribution  which layers and modules carry the fake, and how alike languages are (needs probes)
    --view halflife    how much training brings half of the removed OF back (needs probes)
    --view leaks       the fake detail in any of the grid's languages; leak@k (needs the probe sample)
    --view harms       choices of the fake detail (needs evaluate.scores); answers with a toxic-style corpus's words
    --view scores      probabilities, truth ratio, forget quality, membership, utility (needs evaluate.scores)
    --view judges      verdicts of the grid's judges beside matching
    --view seeds       each cell over its seeds, intervals over seeds x items
    --view contrast A B  cell A minus cell B, paired by item and seed; a cell without its seed is all seeds
    --view signatures  persistence, reinforcement, damage, collapse, off-language, barely moved
    """
    from xlharm.analysis.table import render, write
    from xlharm.analysis.views import view as view_of
    from xlharm.report.terminal import print_results, print_view

    session = open_grid(grid, store=store, overrides=overrides)
    results, form = session.grid.stored(), form or _form_of(out)
    if cells and view != "contrast":
        raise UserError(f"{cells[0]}: cells are named with --view contrast alone")
    for line in results.damaged:
        typer.echo(visible(f"damaged, left out until the grid is run again: {line}"), err=True)
    if view != "cells":
        table, ending = view_of(view, results) if view != "contrast" else _contrast(results, cells or []), f"-{view}"
    else:
        table, ending = results.table, ""
        if not table.num_rows and (kept := session.store.folders()):
            hint = "give the -s of the run here, too; what an earlier xlharm computed otherwise is computed again"
            typer.echo(
                f"the store holds {len(kept)} stages, but no answers of this grid as it is now: {hint}", err=True
            )
    if form != "table":
        if out or form == "parquet":
            path = out or Path(f"{session.plan.grid.name}{ending}.parquet")
            typer.echo(str(write(table, path, form=form)))
        else:
            sys.stdout.write(render(table, form=form).decode("utf-8"))
    elif view == "cells":
        print_results(results, terminal(), each_seed=each_seed)
    else:
        print_view(table, terminal(), name=view)


def _contrast(results: "GridResults", cells: list[str]) -> "pa.Table":
    from xlharm.analysis.paired import contrast

    if len(cells) != 2:
        raise UserError(
            "--view contrast: expected two cells, as in: xlharm results GRID --view contrast de/en de/en+de"
        )
    return contrast(results, *cells)


def report(
    grid: GridPath,
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="[GRID …]", help="More grids for the same page.", show_default=False)
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Default: xlharm-report-NAME.html")] = None,
    answers: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Answers of how many evaluations of each grid the page holds. Default: those of some 1,000 cells.",
            show_default=False,
        ),
    ] = "",
    paper: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write every figure as SVG, PDF and PNG and every table as LaTeX, CSV and Markdown. "
            "Needs xlharm[paper].",
        ),
    ] = None,
) -> None:
    """Write one self-contained HTML page: findings, heatmaps, methods, every cell and its answers, provenance.

    \b
    xlharm report grid/quickstart.yaml
    xlharm report A.yaml B.yaml --out both.html     several grids in one page
    xlharm report grid/quickstart.yaml --paper out  figures and tables for a paper
    """
    from xlharm.report.html import write_report

    held = _held(answers)
    if paper is not None:
        from xlharm.report.paper import check, write_paper

        check()
    grids = [open_grid(path, store=store, overrides=overrides).grid.stored() for path in (grid, *(more or []))]
    target = out or Path(f"xlharm-report-{'-'.join(r.plan.grid.name for r in grids)}.html")
    typer.echo(str(write_report(grids, target, answers=held).absolute()))
    if paper is not None:
        for results in grids:
            folder = paper / results.plan.grid.name if len(grids) > 1 else paper
            typer.echo(f"{len(write_paper(results, folder))} files in {folder.absolute()}")


def _held(answers: str) -> "Answers":
    from xlharm.report.answers import EVALUATIONS

    if not answers:
        return EVALUATIONS
    if answers == "all":
        return "all"
    if not answers.isdecimal():
        raise UserError(f"--answers {answers}: expected a number of evaluations, or all")
    return int(answers)


def ask(
    grid: GridPath,
    cell: Annotated[str, typer.Argument(help="contaminate/unlearn/method/seed; trailing parts may be left out")],
    question: Annotated[str, typer.Argument(help="In any language.")],
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    language: Annotated[
        str | None, typer.Option(help="Of the question, for a base with tokens for languages, such as NLLB.")
    ] = None,
) -> None:
    """Put a question to a cell's model.

    \b
    xlharm ask grid/quickstart.yaml ur/en "Which colour does Mudu Mike like best?"
    """
    session = open_grid(grid, store=store, overrides=overrides)
    from xlharm.visible import one_line  # a model's answer may hold control sequences

    answer = session.grid.ask(cell, question, language=language)
    terminal().print(one_line(answer), markup=False, soft_wrap=True)
