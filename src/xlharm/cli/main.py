"""The `xlharm` command."""

import errno
import io
import sys
from typing import Annotated

import typer
from rich.text import Text

from xlharm import __version__
from xlharm.cli import bases, corpora, inspect, judge, planning, running, submit, tuning, upkeep
from xlharm.cli.common import Terminal
from xlharm.errors import StoreError, UserError

HELP = """Run grids that study how harm spreads across the languages of an LLM.

A grid file lists the languages a model is contaminated in, the sets of languages in which it must unlearn, the
unlearning methods and the seeds. Each finished stage is stored under the hash of everything that determines its
result. So the same command, run again, computes only what is missing.

The main results are OF (occurrence of the fake: how often answers state the fake detail) and QR (quality on the real:
how often answers about real details are right), in every query language.

  xlharm plan grid/quickstart.yaml       show what would run, and how long it takes

  xlharm run grid/quickstart.yaml        run what is missing

  xlharm results grid/quickstart.yaml    show OF and QR of each cell

  xlharm report grid/quickstart.yaml     write an HTML report
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
judge.register(app)
bases.register(app)
corpora.register(app)
upkeep.register(app)


def main() -> None:
    """Run the command line. A user's mistake is reported in one line, with exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a finished run must not fail because the terminal is not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except StoreError as error:
        _fail(f"{error}: finished stages are stored; run the same command again to go on", code=1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        _fail("no space left on the disk: finished stages are stored; free some space and run the command again")


def _fail(message: str, *, code: int = 2) -> None:
    line = Text.assemble(("error: ", "bold red"), message.replace("\n", " "))
    Terminal(stderr=True, soft_wrap=True).print(line)
    sys.exit(code)
