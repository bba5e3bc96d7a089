"""The `xlharm` command."""

import errno
import io
import sys
from typing import Annotated

import typer

from xlharm import __version__
from xlharm.cli import corpora, inspect, judging, planning, running, submit, tuning, upkeep
from xlharm.errors import StoreError, UserError

HELP = """Run grids that study how harm spreads across the languages of an LLM.

A grid file says which languages a model is contaminated in, in which sets of languages it is made to unlearn,
by which methods and seeds. Every stage is stored under the hash of what determines it: the same command, run
again, does only what is missing.

  xlharm plan grid/quickstart.yaml       what would run, and what it costs

  xlharm run grid/quickstart.yaml        run it (again: does nothing)

  xlharm results grid/quickstart.yaml    the numbers

  xlharm report grid/quickstart.yaml     one HTML page
"""

app = typer.Typer(
    name="xlharm",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xlharm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


planning.register(app)
running.register(app)
submit.register(app)
tuning.register(app)
inspect.register(app)
judging.register(app)
corpora.register(app)
upkeep.register(app)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or pipe in Latin-1 must not end a finished run
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except StoreError as error:
        _fail(f"{error}: what was finished is stored; the same command goes on", code=1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        _fail("no space left on the disk: what was finished is stored; free some space and run again")


def _fail(message: str, *, code: int = 2) -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("error: ", "bold red"), message)
    Console(stderr=True, soft_wrap=True, highlight=False).print(line)
    sys.exit(code)
