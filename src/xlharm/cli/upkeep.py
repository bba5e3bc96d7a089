"""`xlharm export`, `gc`, `schema`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, StoreUrl, open_grid
from xlharm.config.schema import fields_table, schema_text
from xlharm.corpus.format import Item
from xlharm.store.leftovers import delete, leftovers
from xlharm.store.store import Store
from xlharm.visible import visible


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export")(export)
    app.command("gc")(gc)
    app.command("schema")(schema)


def export(
    grid: GridPath,
    cell: Annotated[
        str,
        typer.Argument(help="The cell, as contaminate/unlearn/method/seed. Parts at the end may be left out."),
    ],
    folder: Annotated[Path, typer.Argument(help="The folder to write; it must not exist or must be empty.")],
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the whole model, with the adapter added to the base's weights.")
    ] = False,
) -> None:
    """Write the adapter of a cell's final model to a folder that PEFT's `AutoPeftModelForCausalLM` loads.

    The folder gets a README: base, prompt, how texts begin and end, and code that answers as `xlharm ask` does.

    \b
    xlharm export grid/quickstart.yaml de/en+de/npo/0 my-adapter
    xlharm export grid/quickstart.yaml de/en+de/npo/0 my-model --merge
    """
    session = open_grid(grid, store=store, overrides=overrides)
    session.grid.export(cell, folder, merge=merge)
    typer.echo(str(folder))


def gc(
    grids: Annotated[
        list[Path], typer.Argument(metavar="GRID...", help="All grids whose stages are to stay in the store.")
    ],
    store: StoreUrl = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the stages. Without it they are only listed.")] = False,
) -> None:
    """Delete stages that none of the given grids needs, and leftovers of killed runs.

    Leftovers are leases and scratch folders of ended processes, and checkpoints that nobody continued for a week.

    \b
    xlharm gc grid/quickstart.yaml grid/methods.yaml
    xlharm gc grid/quickstart.yaml grid/methods.yaml --yes
    """
    needed = {k[:16] for grid in grids for k in open_grid(grid, store=store, overrides=None).plan.stages}
    opened = Store(store, writes=yes)
    unused = {n: size for n, size in sorted(opened.folders().items()) if n.rpartition("/")[2] not in needed}
    for name in unused:
        typer.echo(visible(name))
        if yes:
            opened.forget(name)
    left = leftovers(opened)
    for name in left:
        typer.echo(name)
    if yes:
        delete(opened, left)
    verb = "Removed" if yes else "Would remove (use --yes)"
    more = f" and {len(left)} leftovers of ended processes" if left else ""
    typer.echo(f"{verb} {len(unused)} folders{more}, {sum(unused.values()) / 1e6:.1f} MB")


def schema(
    of: Annotated[
        Literal["grid", "corpus", "fields"],
        typer.Argument(help="grid: of grid files; corpus: of one line of a corpus; fields: a table of grid files."),
    ] = "grid",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
) -> None:
    """Print the JSON schema of grid files or of the items of a corpus, for editors.

    The first line of a grid file can name it: `# yaml-language-server: $schema=grid.schema.json`. Editors that know
    YAML then complete fields and mark mistakes.

    \b
    xlharm schema --out grid.schema.json
    xlharm schema corpus --out item.schema.json
    """
    match of:
        case "grid":
            text = schema_text()
        case "corpus":
            text = json.dumps(Item.model_json_schema(), indent=1) + "\n"
        case "fields":
            text = fields_table(docs="../docs")
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(str(out))
