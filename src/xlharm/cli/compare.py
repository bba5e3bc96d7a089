"""`xlharm compare`: grids against each other."""

import sys
from typing import Annotated, Literal

import typer

from xlharm import api
from xlharm.cli.common import DEFAULT_STORE, Overrides, StoreUrl, open_grid, split_grid, terminal
from xlharm.visible import visible


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    grids: Annotated[
        list[str],
        typer.Argument(metavar="A B [C ...]", help="Grid files; FILE@STORE if its results are in another store."),
    ],
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    view: Annotated[
        Literal["sets", "cells", "findings", "harms", "alone"], typer.Option(help="What to look at.")
    ] = "sets",
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to print it.")] = "table",
) -> None:
    """Compare grids with the first of them, in the places that both have: other bases, corpora, methods or settings.

    A place is a contamination language, an unlearning set, a method and a query language. Differences are those of the
    first grid minus the other, in points of OF (occurrence of the fake) and QR (quality on the real), with 95 %
    intervals over items and seeds. `paired` says how: by `items` where both grids asked the same questions; by
    `cells` where the corpora differ, so that the rates count as independent and intervals are wider. Two methods of
    different names are compared if each is its grid's only one. -s changes all grids.

    \b
    --view sets        each unlearning set over all its places
    --view cells       each place
    --view findings    the study's claims: the grids' verdicts side by side
    --view harms       kinds of harm: spread and unlearning by the measure that fits each corpus; agree or differ
    --view alone       places that only one grid has, and why

    \b
    xlharm compare grid/llama.yaml grid/bloom.yaml
    xlharm compare grid/quickstart.yaml grid/quickstart.yaml@s3://bucket/other-store --view findings
    """
    from xlharm.analysis.table import render
    from xlharm.report.terminal import print_view

    named = [split_grid(text, store=store) for text in grids]
    opened = [open_grid(path, store=where, overrides=overrides).grid for path, where in named]
    comparison = api.compare(*opened)
    table = comparison.table(view)
    if form != "table":
        sys.stdout.write(render(table, form=form).decode("utf-8"))
        return
    print_view(table, terminal(), name=view)
    for line in comparison.notes():
        terminal().print(visible(line), markup=False, highlight=False, soft_wrap=True)
