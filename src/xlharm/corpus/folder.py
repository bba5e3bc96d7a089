"""A corpus folder from outside: its corpus.yaml, and each language's file or folder. Reads no item."""

from pathlib import Path
from typing import Any

from xlharm.errors import UserError
from xlharm.plain_files import parse_json, read_text, read_yaml
from xlharm.plan.digest import digest, file_digest

SCHEMA = 1
"""Version of the form of items and of corpus.yaml; a change that old readers would misread raises it."""


def corpus_info(folder: Path) -> dict[str, Any]:
    """Read a corpus.yaml; ``languages``, ``accept`` and the version of the schema (1 where none is given) are checked.

    Raises:
        UserError: file and field of the first mistake.
    """
    path = folder / "corpus.yaml"
    info = read_yaml(path)
    if not isinstance(info, dict):
        raise UserError(f"{path}: expected fields (name, version, schema, languages, licence)")
    if info.get("schema", SCHEMA) != SCHEMA:
        raise UserError(f"{path}: schema: this xlharm reads corpora of schema {SCHEMA}, found {info['schema']!r}")
    if not _texts(info.get("languages")) or not info["languages"]:
        raise UserError(f"{path}: languages: expected a list of language codes")
    if not _texts(info.get("accept", [])):
        raise UserError(f"{path}: accept: expected a list of beginnings of findings")
    return info


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) and entry for entry in value)


def language_path(folder: Path, language: str) -> Path | None:
    """Find a language's JSONL file, or the folder that `datasets` saved with ``save_to_disk``.

    Raises:
        UserError: there are both.
    """
    file, saved = folder / f"{language}.jsonl", folder / language
    if file.is_file() and (saved / "state.json").is_file():
        raise UserError(f"{folder}: {language}: {file.name} and the folder {language}/ are both there; keep one")
    return next((path for path in (file, saved) if path.is_file() or (path / "state.json").is_file()), None)


def saved_tables(path: Path) -> list[Path]:
    """List a saved folder's Arrow tables in order.

    Raises:
        UserError: its list of them is damaged.
    """
    try:
        return [path / entry["filename"] for entry in parse_json(read_text(path / "state.json"))["_data_files"]]
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{path / 'state.json'}: is not what save_to_disk writes") from None


def language_digest(path: Path) -> str:
    """Digest what a language's items are read from; of a saved folder its tables, which hold no paths or dates."""
    return file_digest(path) if path.is_file() else digest([file_digest(table) for table in saved_tables(path)])
