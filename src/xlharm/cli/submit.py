"""`xlharm submit`: runs a grid as a job on a Ray cluster."""

import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from xlharm.cli.common import GridPath
from xlharm.cli.running import run
from xlharm.config.load import load_grid
from xlharm.engine.limits import deadline_at
from xlharm.errors import UserError
from xlharm.store.files import refuse_password

_PROJECT_MARKS = (".rayignore", "pyproject.toml", ".git")
_NEVER = (".git/", ".venv/", "wandb/", "__pycache__/", ".mypy_cache/", ".ruff_cache/")
_UsageError: Any = typer.BadParameter.__base__  # of click, or of the copy of click in recent versions of Typer
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit")(submit)


def submit(
    grid: GridPath,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[-- RUN OPTIONS]", help="Options for `xlharm run` on the cluster.")
    ] = None,
    *,
    address: Annotated[
        str, typer.Option(metavar="URL", help="Address of the cluster's job server, such as http://HEAD:8265.")
    ],
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            envvar="XLHARM_STORE",
            metavar="URL",
            help="The store: an absolute path or a URL that is valid on all machines of the cluster.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the job's output until it ends, and exit with its exit code.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME",
            help="Set this variable for the job to its value here. Everybody with access to the cluster can read it.",
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret", metavar="NAME", help="Check that this variable is set on the cluster; its value is not sent."
        ),
    ] = None,
) -> None:
    """Run a grid as a job on a Ray cluster: upload the grid's project, and call `xlharm run` there.

    The same command, submitted again, computes only what is missing.

    \b
    xlharm submit grid/quickstart.yaml --address http://head:8265 --store /shared/store --follow
    xlharm submit grid/quickstart.yaml --address http://head:8265 --store s3://bucket/store -- --workers 4 --device cuda
    """
    words = [*(["--store", store] if store is not None else []), *(options or ())]
    name = _checked(grid, words)
    forwarded = {key: _value(key) for key in env or ()}
    folder = _project(grid)

    from xlharm.engine.ray.submit import JobServer, Submission

    server = JobServer(address)
    job = Submission(
        id=f"{re.sub(r'[^A-Za-z0-9_-]', '-', name)}-{time.strftime('%Y%m%d-%H%M%S')}",
        entrypoint=_entrypoint(grid.resolve().relative_to(folder), words, secrets=secret or ()),
        folder=folder,
        excludes=[*_NEVER, *(f"/{path}/" for path in _bulky(folder))],
        environment=forwarded,
    )
    server.submit(job)
    typer.echo(f"Submitted {job.id}")
    typer.echo(f"Follow: ray job logs --address {server.address} --follow {job.id}")
    typer.echo(f"Stop:   ray job stop --address {server.address} {job.id}")
    if not follow:
        return
    try:
        code = server.follow(job.id, write=_write)
    except KeyboardInterrupt:
        typer.echo(f"Detached; {job.id} is still running.", err=True)
        raise typer.Exit(130) from None
    raise typer.Exit(code)


def _checked(grid: Path, words: Sequence[str]) -> str:
    """Check the options in the same way as `xlharm run`, and return the grid's name.

    Raises:
        UserError: an option is wrong, or the store is a relative path.
    """
    reader = typer.Typer(add_completion=False)
    reader.command("run")(run)
    command = typer.main.get_command(reader)
    try:
        given = command.make_context("run", [str(grid), *words]).params
    except _UsageError as error:
        raise UserError(f"run options: {error.format_message()}") from None
    if given["deadline"] is not None:
        deadline_at(given["deadline"], now=time.time())
    store = str(given["store"])
    refuse_password(store)
    if "://" not in store and not PurePosixPath(store).is_absolute():
        raise UserError(
            f"--store {store}: expected an absolute path or a URL: a relative path would be deleted with the job's "
            "folder"
        )
    return load_grid(grid, overrides=given["overrides"] or ()).name


def _value(name: str) -> str:
    _named("--env", name)
    value = os.environ.get(name)
    if value is None:
        raise UserError(f"--env {name}: the variable is not set on this machine")
    return value


def _named(option: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        shown = name.partition("=")[0]  # the value after `=` may be a secret
        raise UserError(f"{option} {shown}: expected the name of a variable alone, without its value")


def _project(grid: Path) -> Path:
    """Return the folder to upload: the nearest project folder around the grid file, else the grid file's own folder."""
    own = grid.resolve().parent
    home = Path.home().resolve()
    around = [p for p in (own, *own.parents) if p not in {home, Path(p.anchor)}]
    return next((p for p in around if any((p / mark).exists() for mark in _PROJECT_MARKS)), own)


def _bulky(folder: Path) -> Iterator[str]:
    """Yield the stores and virtual environments below a folder, recognised by their content."""
    for where, below, files in os.walk(folder):
        here = Path(where)
        store = {"stages", "tmp"} <= set(below) or {"stages", "grids"} <= set(below)
        if here != folder and (store or "pyvenv.cfg" in files):
            yield here.relative_to(folder).as_posix()
            below.clear()
        below[:] = [name for name in below if f"{name}/" not in _NEVER]


def _entrypoint(grid: Path, words: Sequence[str], *, secrets: Sequence[str]) -> str:
    checks = []
    for name in secrets:
        _named("--secret", name)
        message = f"error: --secret {name}: is not set on the cluster"
        checks.append(f'[ -n "${{{name}:-}}" ] || {{ echo {shlex.quote(message)} >&2; exit 2; }}; ')
    return "".join(checks) + "exec " + shlex.join(["xlharm", "run", grid.as_posix(), *words])


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
