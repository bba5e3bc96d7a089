"""What every command shares: its arguments, the grid that it opens, and the terminal."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from xlharm import api
from xlharm.api import Grid
from xlharm.plan.build import Plan
from xlharm.report.console import Terminal
from xlharm.store.store import Store
from xlharm.visible import visible

GridPath = Annotated[Path, typer.Argument(metavar="GRID", help="Grid file, for example grid/quickstart.yaml.")]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="XLHARM_STORE",
        metavar="URL",
        help="Folder or fsspec URL (s3://…) where results live. All machines of a cluster must see it.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a field: -s seeds=3 -s methods.npo.beta=0.2"),
]
DEFAULT_STORE = "store"


@dataclass(frozen=True)
class Session:
    """A grid as a command has opened it."""

    grid: Grid

    @property
    def plan(self) -> Plan:
        """The grid's plan."""
        return self.grid.plan()

    @property
    def store(self) -> Store:
        """Where its results lie."""
        return self.grid.store


def open_grid(
    path: Path, *, store: str, overrides: list[str] | None, writes: bool = False, may_be_empty: bool = False
) -> Session:
    """Open a grid; unless it ``may_be_empty``, say so where its store has nothing yet, or is not there."""
    grid = api.open_grid(path, store=store, overrides=overrides or (), writes=writes)
    for note in grid.plan().notes:
        typer.echo(visible(note), err=True)
    if grid.store.empty and not may_be_empty:
        typer.echo(visible(f"--store {store}: nothing is there yet"), err=True)
    return Session(grid)


def split_grid(text: str, *, store: str) -> tuple[Path, str]:
    """Return a grid's file and its store. Paths and URLs may hold an `@`, too: the file before it must be there."""
    if Path(text).is_file() or "@" not in text:
        return Path(text), store
    ends = [i for i, letter in enumerate(text) if letter == "@"]
    end = next((i for i in ends if Path(text[:i]).is_file()), ends[0])
    return Path(text[:end]), text[end + 1 :] or store


def terminal() -> Console:
    """Return the console; without a terminal lines are 100 wide and plain."""
    found = Terminal()
    return found if found.is_terminal else Terminal(width=100)
