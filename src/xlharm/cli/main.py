"""The `xlharm` command."""

import errno
import gc
import io
import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text

from xlharm import __version__
from xlharm.cli import (
    bases,
    compare,
    corpora,
    doctor,
    init,
    inspect,
    judge,
    mirroring,
    planning,
    running,
    storing,
    submit,
    tuning,
    upkeep,
    view,
)
from xlharm.engine.trouble import EngineError
from xlharm.errors import CorruptArtifactError, StoreError, UserError
from xlharm.report.console import Terminal
from xlharm.visible import one_line, visible

HELP = """Run grids that study how harm spreads across the languages of an LLM.

A grid file lists the languages a model is contaminated in, the sets of languages in which it must unlearn, the
unlearning methods and the seeds. Each finished stage is stored under the hash of everything that determines its
result. So the same command, run again, computes only what is missing.

The main results are OF (occurrence of the fake: how often answers state the fake detail) and QR (quality on the real:
how often answers about real details are right), in every query language.

  xlharm init my-grid.yaml               ask four questions and write a grid

  xlharm plan grid/quickstart.yaml       show what would run, and how long it takes

  xlharm run grid/quickstart.yaml        run what is missing

  xlharm results grid/quickstart.yaml    show OF and QR of each cell

  xlharm report grid/quickstart.yaml     write an HTML report
"""

_GO_ON = "finished stages are stored; run the same command again to go on"
# the class of errors of arguments, which typer does not name: UsageError, and its base ClickException
_Refused: type[Exception] = typer.BadParameter.__mro__[2]
_COLLECTED = (100_000, 50, 100)
"""When Python looks for garbage in cycles: by its own thresholds it would look through the millions of values of a
large grid again and again, for a fifth of the time."""
_LONGEST = 2000  # characters of a message; what data say is shortened where it is quoted

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


init.register(app)
planning.register(app)
running.register(app)
submit.register(app)
tuning.register(app)
inspect.register(app)
view.register(app)
compare.register(app)
mirroring.register(app)
judge.register(app)
bases.register(app)
corpora.register(app)
storing.register(app)
upkeep.register(app)
doctor.register(app)


def main() -> None:
    """Run the command line. Each foreseeable failure is reported in one line, a user's mistake with exit code 2."""
    gc.set_threshold(*_COLLECTED)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a finished run must not fail because the terminal is not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except _Refused as error:
        _usage(error)
    except UserError as error:
        _fail(str(error))
    except (StoreError, EngineError) as error:
        _fail(f"{error}: {_GO_ON}", code=1)
    except CorruptArtifactError as error:
        _fail(f"{error}: run the grid again, which computes the stage anew", code=1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a third Ctrl-C ends what is still being cleaned up
        _fail(f"interrupted: {_GO_ON}", code=130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        _fail_os(error)


def _usage(error: Any) -> NoReturn:
    """Show an error of the arguments as typer does, but what they hold as text."""
    shown = io.StringIO()
    error.show(file=shown)
    sys.stderr.write(visible(shown.getvalue()))
    sys.exit(error.exit_code)


def _fail_os(error: OSError) -> None:
    """Report an error of the operating system that no command expects, or raise it again."""
    try:
        sys.stdout.write("\n")  # fails again, if it was standard output
        sys.stdout.flush()
    except OSError as unwritten:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again at its end
        _fail(f"standard output: cannot be written: {unwritten.strerror}", code=1)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        _fail("no space left on the disk: finished stages are stored; free some space and run the command again")
    if error.filename is None:
        raise error
    _fail(f"{error.filename}: {error.strerror or error}")


def _fail(message: str, *, code: int = 2) -> NoReturn:
    line = Text.assemble(("error: ", "bold red"), one_line(message, most=_LONGEST))
    Terminal(stderr=True, soft_wrap=True).print(line)
    sys.exit(code)
