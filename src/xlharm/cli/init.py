"""`xlharm init`: asks four questions and writes a grid file."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from xlharm.cli.common import terminal
from xlharm.config.load import parse_grid
from xlharm.config.schema import FILE, write_schema
from xlharm.corpus.finding import assets, base_folder, corpus_folder
from xlharm.corpus.folder import corpus_info
from xlharm.corpus.format import Item, load_language
from xlharm.corpus.new_grid import (
    GOALS,
    QUESTIONS,
    SHIPPED_BASE,
    Choices,
    Goal,
    check_goal,
    forgettable,
    grid_name,
    grid_text,
)
from xlharm.errors import UserError, nearest
from xlharm.plain_files import parse_yaml
from xlharm.visible import visible

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_CONTAMINATED = 2  # languages that are proposed


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The grid file to write.")] = Path("my-grid.yaml"),
    base: Annotated[
        str | None, typer.Option(metavar="BASE", help="A shipped base, a folder, or a hub id as org/name@COMMIT.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(metavar="CORPUS", help="A shipped corpus, or a folder.")] = None,
    contaminate: Annotated[
        str | None,
        typer.Option(metavar="LANG,…", help="Languages in which the fake articles are told, with commas between."),
    ] = None,
    find: Annotated[
        str | None, typer.Option(metavar="|".join(GOALS), help="What to find out.", show_default=False)
    ] = None,
    languages: Annotated[
        str | None, typer.Option(metavar="LANG,…", help="Languages of the questions. Default: all of the corpus.")
    ] = None,
) -> None:
    """Ask four questions and write a grid file with comments, and the schema for editors beside it.

    What an option says is not asked. Without a terminal all four are needed: --base, --corpus, --contaminate and
    --find. A file that is there already is not overwritten.

    \b
    xlharm init my-grid.yaml
    xlharm init my-grid.yaml --base tiny-base --corpus tinyworld --contaminate de,ur --find sets
    """
    if os.path.lexists(file):
        raise UserError(f"{file}: exists already: give another name, or move it away")
    ask = _Asking(interactive=sys.stdin.isatty())
    ask.need({"--base": base, "--corpus": corpus, "--contaminate": contaminate, "--find": find})
    base_name, revision = _base(base or ask.one("1. Base model", _bases_offered(), default=SHIPPED_BASE))
    corpus_name = corpus or ask.one("2. Corpus", _corpora_offered(), default="tinyworld")
    folder = corpus_folder(corpus_name)
    items = _items(folder)
    told = forgettable(items)
    if not told:
        raise UserError(f"corpus {corpus_name}: no item has a fake version: there is nothing to contaminate with")
    proposed = ",".join([lang for lang in told if lang != "en"][:_MOST_CONTAMINATED] or told[:1])
    where = f"languages in which the fake articles are told, of {', '.join(told)}"
    contaminated = _codes(contaminate or ask.one("3. Contamination", [where], default=proposed), told, "--contaminate")
    goal = check_goal(find) if find else ask.goal()
    choices = Choices(
        name=grid_name(file.stem),
        base=_beside(base_name, file) if base_folder(base_name) else base_name,
        revision=revision,
        corpus=_beside(corpus_name, file),
        languages=_codes(languages, tuple(items), "--languages") if languages else tuple(items),
        contaminate=contaminated,
        goal=goal,
        written_by="xlharm init",
    )
    text = grid_text(choices, items)
    parse_grid(parse_yaml(text, name=str(file)), name=str(file))
    _write(file, text)
    console, name = terminal(), shlex.quote(str(file))
    console.print(f"{file}: written, and {FILE} beside it", soft_wrap=True)
    if base_folder(base_name) is None:
        fetch = f"hf download {base_name} --revision {revision}"
        console.print(f"The base is on the hub: fetch it first: {fetch}", soft_wrap=True)
    console.print(f"Next: xlharm plan {name}, then xlharm run {name}", soft_wrap=True)


class _Asking:
    """Questions at a terminal."""

    def __init__(self, *, interactive: bool) -> None:
        self._interactive = interactive

    def need(self, options: Mapping[str, str | None]) -> None:
        """Check that nothing is to be asked where nobody can answer.

        Raises:
            UserError: options are missing.
        """
        missing = [name for name, value in options.items() if value is None]
        if missing and not self._interactive:
            raise UserError(f"without a terminal nothing can be asked: give {', '.join(missing)}; see xlharm init -h")

    def one(self, title: str, lines: Sequence[str], *, default: str) -> str:
        """Ask one question; an empty answer is the default."""
        typer.echo(title)
        for line in lines:
            typer.echo(visible(f"   {line}"))
        return str(typer.prompt("  ", default=default, prompt_suffix="> ")).strip()

    def goal(self) -> Goal:
        """Ask what is to be found out, by its name or number."""
        lines = [f"{i}. {goal:<8} {QUESTIONS[goal]}" for i, goal in enumerate(GOALS, 1)]
        answer = self.one("4. What to find out", lines, default="sets")
        return GOALS[int(answer) - 1] if answer in map(str, range(1, len(GOALS) + 1)) else check_goal(answer)


def _bases_offered() -> list[str]:
    shipped = ", ".join(sorted(path.parent.name for path in assets().glob("*/config.json")))
    return [f"shipped: {shipped}; or a folder (xlharm base import), or a hub id as org/name@COMMIT"]


def _corpora_offered() -> list[str]:
    shipped = ", ".join(sorted(path.parent.name for path in assets().glob("*/corpus.yaml")))
    return [f"shipped: {shipped}; or a folder (xlharm data import, xlharm data template)"]


def _base(text: str) -> tuple[str, str | None]:
    """Return a base's name and, of a hub id, its commit.

    Raises:
        UserError: it is neither a shipped base, a folder nor a hub id with its commit.
    """
    if base_folder(text) is not None:
        return text, None
    name, at, commit = text.partition("@")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        if not at or not _COMMIT.fullmatch(commit):
            raise UserError(
                f"--base {text}: a base from the hub needs its commit, as {name}@0123…: 40 hex digits, "
                "shown under Files and versions on its page; or make a folder with `xlharm base import`"
            )
        return name, commit
    shipped = sorted(path.parent.name for path in assets().glob("*/config.json"))
    raise UserError(
        f"--base {text}: neither a shipped base ({', '.join(shipped)}), a folder with a config.json, nor a hub id such "
        f"as org/model@COMMIT{nearest(text, shipped)}"
    )


def _items(folder: Path) -> dict[str, tuple[Item, ...]]:
    return {language: load_language(folder, language) for language in corpus_info(folder)["languages"]}


def _codes(text: str, known: Sequence[str], option: str) -> tuple[str, ...]:
    """Read language codes with commas between.

    Raises:
        UserError: one is not among the known ones, or is named twice.
    """
    codes = tuple(code for code in re.split(r"[,\s]+", text.strip()) if code)
    for code in codes:
        if code not in known:
            raise UserError(
                f"{option} {text}: the corpus has no {'fake items in' if option == '--contaminate' else 'language'} "
                f"{code!r}{nearest(code, known)} (it has {', '.join(known)})"
            )
    if not codes or len(set(codes)) < len(codes):
        raise UserError(f"{option} {text}: expected languages with commas between, each once")
    return codes


def _beside(name: str, file: Path) -> str:
    """Write a folder's path as seen from the grid file; a shipped one has its name alone."""
    if "/" not in name and (assets() / name).is_dir():
        return name
    path = os.path.relpath(Path(name).expanduser(), file.parent)
    return path if path.startswith("..") else f"./{path}"


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as handle:  # refuses what another process wrote meanwhile
            handle.write(text)
        write_schema(file.parent)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror or error}") from None
