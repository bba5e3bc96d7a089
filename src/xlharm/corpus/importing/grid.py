"""The first grid of an imported corpus, which lies in its folder; it follows the corpus's languages until changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from xlharm.corpus.folder import language_path
from xlharm.corpus.format import Item, load_language
from xlharm.corpus.new_grid import SHIPPED_BASE, Choices, forgettable, grid_name, grid_text

NAME = "grid.yaml"
"""Of the first grid in its corpus's folder."""


def first_grid(items: Mapping[str, Sequence[Item]], *, folder: str) -> str:
    """Return a grid file's text; every stage of it has rows in this corpus.

    Args:
        items: by language; in at least one some are to be forgotten.
        folder: name of the corpus's folder, in which the grid lies.
    """
    told = forgettable(items)
    choices = Choices(
        name=grid_name(folder),
        base=SHIPPED_BASE,
        corpus=f"../{folder}",
        corpus_note="this folder, from this file on",
        follows=True,
        languages=tuple(items),
        contaminate=(next((lang for lang in told if lang != "en"), told[0]),),
        goal="sets",
        written_by="xlharm data import",
    )
    return grid_text(choices, items)


def grid_as_written(folder: Path, *, languages: Sequence[str]) -> bool:
    """Whether a corpus's folder holds the grid that its import wrote, unchanged.

    Args:
        folder: the corpus.
        languages: its languages, in the order of corpus.yaml.

    Raises:
        UserError: a language's file cannot be read.
    """
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return text == _of_folder(folder, languages=languages)


def write_grid(folder: Path, *, languages: Sequence[str]) -> Path:
    """Write a corpus's first grid anew, with all its languages; see ``grid_as_written``."""
    path = folder / NAME
    scratch = path.with_name(f".{NAME}.part")
    scratch.write_text(_of_folder(folder, languages=languages), encoding="utf-8")
    scratch.replace(path)
    return path


def _of_folder(folder: Path, *, languages: Sequence[str]) -> str:
    there = [language for language in languages if language_path(folder, language)]
    items = {language: some for language in there if (some := load_language(folder, language))}
    if not any(item.role == "fake" for some in items.values() for item in some):
        return ""
    return first_grid(items, folder=folder.resolve().name)
