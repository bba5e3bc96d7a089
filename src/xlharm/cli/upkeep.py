"""`xlharm export`, `gc`, `doctor`, `schema`."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, StoreUrl, open_grid, terminal
from xlharm.config.schema import fields_table, schema_text
from xlharm.corpus.format import Item
from xlharm.engine.choices import has_gpu
from xlharm.errors import UserError
from xlharm.store.leftovers import delete, leftovers
from xlharm.store.store import Store
from xlharm.visible import visible


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export")(export)
    app.command("gc")(gc)
    app.command("doctor")(doctor)
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


def doctor(store: StoreUrl = DEFAULT_STORE) -> None:
    """Check this machine: Python, packages, GPU, Ray's authentication, DeepSpeed, store and disk.

    Exit codes: 0 all checks passed, 1 a check failed.

    \b
    xlharm doctor
    xlharm doctor --store /shared/store
    """
    console, good = terminal(), True
    for name, ok, detail in _checks(store):
        good &= ok
        console.print(f"{'ok  ' if ok else 'BAD '} {name:<12} {detail}", style=None if ok else "red", markup=False)
    raise typer.Exit(0 if good else 1)


def _checks(store: str) -> list[tuple[str, bool, str]]:
    checks = [("python", sys.version_info >= (3, 11), platform.python_version())]
    for name in ("torch", "transformers", "peft", "deepspeed", "ray", "datasets", "wandb"):
        try:
            checks.append((name, True, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append((name, False, "not installed"))
    checks.append(("gpu", True, _gpu()))
    checks.append(("ray auth", *_ray_auth()))
    code = "import os; os.environ.setdefault('DS_ACCELERATOR', 'cpu'); import deepspeed"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    checks.append(("import", done.returncode == 0, "deepspeed imports" if not done.returncode else done.stderr[-200:]))
    try:
        opened = Store(store)
        free = shutil.disk_usage(opened.local).free / 1e9
        where = f" in its cache, {opened.local}" if opened.remote else ""
        checks.append(("store", free > 1, f"{store} is writable, {free:.0f} GB free{where}"))
    except UserError as error:
        checks.append(("store", False, str(error)))
    return checks


def _gpu() -> str:
    if not has_gpu():
        return "none: grids run on the CPU in float32"
    code = "import torch; print(torch.cuda.device_count(), 'devices')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return f"torch sees: {done.stdout.strip()}"


def _ray_auth() -> tuple[bool, str]:
    """Check whether clusters and clients of Ray agree on authentication.

    Since Ray 2.59, a token file turns authentication on for clusters that are started on this machine. But clients send
    the token only if RAY_AUTH_MODE is ``token``; otherwise they fail with an error that does not name the reason.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    given = os.environ.get("RAY_AUTH_TOKEN")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if mode == "token" and not given and not path.exists():
        return False, f"RAY_AUTH_MODE=token, but there is no token: set RAY_AUTH_TOKEN, or write it to {path}"
    if not mode and (given or path.exists()):
        where = "RAY_AUTH_TOKEN is set" if given else f"{path} exists"
        return (
            False,
            f"{where}, so `ray start` clusters need the token but clients do not send it: set RAY_AUTH_MODE=token",
        )
    return True, f"RAY_AUTH_MODE={mode or 'not set'}, clusters and clients agree"
