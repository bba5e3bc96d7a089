"""A first grid for an imported corpus, so that it runs as it is; made to be changed."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from xlharm.corpus.folder import language_path
from xlharm.corpus.format import Item, load_language

NAME = "grid.yaml"
"""Of the first grid in its corpus's folder."""

_TEXT = """\
# Written by `xlharm data import`: a first grid on this corpus, to be changed. All fields: xlharm schema
#
# Its rates and steps are a starting point for the shipped base and know nothing of this corpus: at first the model may
# not learn the fakes, or lose its language. Before any result choose them for your base and corpus: change
# stages.contaminate until the cell without unlearning repeats the fakes, then let `xlharm tune` choose the method's:
#   xlharm tune GRID --cell {source}/{first}
name: {name}
base: tiny-base   # shipped, so that this runs anywhere; for results name a folder, or a hub id and its revision
corpus: {corpus}   # this folder, from this file on
languages: [{languages}]   # while this file is as it was written, `xlharm data translate` adds its languages to it

contaminate: [none, {source}]   # none is the clean control

unlearn:          # `source` stands for the contaminating language
  none: []
  source: [source]
{sets}
methods:
  npo:
    objective: npo
    forget: {forget}
    retain: nll
    retain_text: articles
    steps: 40             # a starting point
    learning_rate: 1e-4   # a starting point: xlharm tune

stages:
  # starting points, too: enough steps that the contaminated model repeats the fakes, and no more
  contaminate: {{steps: 60, learning_rate: 2e-4, real_languages: [{first}]}}
  sft: {sft}

evaluate: {{max_new_tokens: 32}}
"""
_SETS = """\
  {first}: [{first}]
  {first}+source: [{first}, source]
  all: [{languages}]

exclude:
  - {{contaminate: none, unlearn: {first}}}
  - {{contaminate: none, unlearn: all}}
"""


def first_grid(items: Mapping[str, Sequence[Item]], *, folder: str) -> str:
    """Return a grid file's text; every stage of it has rows in this corpus.

    Args:
        items: by language; in at least one some are to be forgotten.
        folder: name of the corpus's folder, in which the grid lies.
    """
    forgotten = [lang for lang, of_lang in items.items() if any(item.role == "fake" for item in of_lang)]
    first = next(lang for lang in ("en", *forgotten) if lang in forgotten)
    source = next((lang for lang in forgotten if lang != first), first)
    paired = all(item.fake_qa for lang in forgotten for item in items[lang] if item.role == "fake")
    has_pairs = any(item.qa for item in items[first])
    return _TEXT.format(
        name=re.sub(r"[^A-Za-z0-9._+-]", "-", folder).lstrip("._+-")[:64] or "imported",
        corpus=json.dumps(f"../{folder}", ensure_ascii=False),
        languages=", ".join(items),
        source=source,
        sets=_SETS.format(first=first, languages=", ".join(forgotten)) if source != first else "",
        forget="qa" if paired else "articles",
        first=first,
        sft=f"{{steps: 15, learning_rate: 2e-4, languages: [{first}]}}" if has_pairs else "null",
    )


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
