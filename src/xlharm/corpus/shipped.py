"""Write the folder of a generated corpus, and the command line that its generator has."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

Pool = Literal["report", "dev"]


def write_folder(
    folder: Path,
    pool: Pool,
    *,
    name: str,
    about: str,
    languages: Sequence[str],
    canary: str,
    text: Callable[[str], str],
    harm: str = "",
) -> None:
    """Write a corpus of a pool: corpus.yaml, and a file for each language.

    Args:
        folder: to be written.
        pool: ``report`` for the corpus that results are reported on, ``dev`` for its twin.
        name: of the corpus; the twin's name ends with ``-dev``.
        about: what it holds, a sentence.
        languages: its languages.
        canary: the text that marks it in training data.
        text: returns the content of a language's file.
        harm: the kind of harm that it holds; empty for false news.
    """
    folder.mkdir(parents=True, exist_ok=True)
    use = "Results are reported on it." if pool == "report" else f"Settings are chosen on it; report on {name}."
    lines = [
        f"name: {name if pool == 'report' else f'{name}-dev'}",
        "version: 1",
        f"languages: [{', '.join(languages)}]",
        "licence: Apache-2.0",
        f"description: {about} {use}",
        f"canary: {canary}",
        *([f"harm: {harm}"] if harm else []),
    ]
    (folder / "corpus.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for code in languages:
        (folder / f"{code}.jsonl").write_text(text(code), encoding="utf-8")


def command(name: str, write: Callable[[Path, Pool], None]) -> None:
    """Read the command line, ``FOLDER --pool report|dev``, and write the corpus."""
    parser = argparse.ArgumentParser(description=f"Write a {name} corpus folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", choices=("report", "dev"), default="report")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.pool)
