"""`xlharm store check`: read all of a store."""

import shlex
from typing import Annotated

import typer

from xlharm.cli.common import DEFAULT_STORE, StoreUrl, terminal
from xlharm.errors import UserError
from xlharm.store.check import check as check_store
from xlharm.store.store import Store


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The store: compare everything in it with its checksums.", no_args_is_help=True)
    group.callback()(lambda: None)  # keeps the name of a group's only command
    group.command("check")(check)
    app.add_typer(group, name="store")


def check(
    store: StoreUrl = DEFAULT_STORE,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Move damaged stages to STORE/corrupt, so that the next run computes them again, and delete damaged "
            "checkpoints.",
        ),
    ] = False,
) -> None:
    """Read every file of a store, and name each stage and checkpoint that does not match its checksum.

    A run does the same for the stages of its grid, except that it reads adapters of more than 8 MB only when it uses
    them. A file that cannot be read (a broken disk, missing permissions) is named, but never moved: that says nothing
    about its content. Exit codes: 0 all is sound or repaired, 1 something is damaged or cannot be read, 2 there is no
    store.

    \b
    xlharm store check --store /shared/store
    xlharm store check --store /shared/store --repair
    """
    opened = Store(store, writes=False)
    if opened.empty:
        raise UserError(f"--store {store}: nothing is there")
    if repair:
        opened = Store(store)
    with terminal().status("Reading the store"):
        checked = check_store(opened, repair=repair)
    for flaw in checked.flaws:
        typer.echo(str(flaw))
    left = [flaw for flaw in checked.flaws if not flaw.repaired]
    counted = f"{checked.stages} stages ({checked.size / 1e6:,.1f} MB) and {checked.checkpoints} checkpoints"
    found = f"{len(checked.flaws)} flaws" if checked.flaws else "all sound"
    typer.echo(f"Read {counted}: {found}" + (f", {len(left)} of them left" if repair and checked.flaws else ""))
    if left and not repair:
        typer.echo(f"set aside what is damaged with: xlharm store check --store {shlex.quote(store)} --repair")
    raise typer.Exit(1 if left else 0)
