"""A corpus folder's corpus.yaml, and the file or folder of each language. Items are not read here."""

from pathlib import Path
from typing import Any, Literal, get_args

from xlharm.errors import UserError, nearest
from xlharm.plain_files import parse_json, read_text, read_yaml
from xlharm.plan.digest import digest, file_digest

SCHEMA = 1
"""Version of the format of items and of corpus.yaml. Raise it with any change that older versions would misread."""

Harm = Literal["news", "claims", "stereotypes", "style"]
"""What a corpus's fakes are: false news, false claims, traits of groups, or insulting words."""
HARMS: tuple[Harm, ...] = get_args(Harm)


def corpus_info(folder: Path) -> dict[str, Any]:
    """Read a corpus.yaml and check its fields ``languages``, ``accept``, ``harm`` and ``schema``.

    Raises:
        UserError: the file cannot be read, or one of these fields is wrong; names file and field.
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
    if (harm := info.setdefault("harm", HARMS[0])) not in HARMS:
        raise UserError(f"{path}: harm: expected one of {', '.join(HARMS)}, found {harm!r}{nearest(str(harm), HARMS)}")
    return info


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) and entry for entry in value)


def language_path(folder: Path, language: str) -> Path | None:
    """Return a language's JSONL file, or the folder that `datasets` saved with ``save_to_disk``; None if there is none.

    Raises:
        UserError: there are both.
    """
    file, saved = folder / f"{language}.jsonl", folder / language
    if file.is_file() and (saved / "state.json").is_file():
        raise UserError(f"{folder}: {language}: {file.name} and the folder {language}/ are both there; keep one")
    return next((path for path in (file, saved) if path.is_file() or (path / "state.json").is_file()), None)


def saved_tables(path: Path) -> list[Path]:
    """List the Arrow tables of a folder that ``save_to_disk`` wrote, in order.

    Raises:
        UserError: the folder's ``state.json`` is damaged.
    """
    try:
        return [path / entry["filename"] for entry in parse_json(read_text(path / "state.json"))["_data_files"]]
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{path / 'state.json'}: is not what save_to_disk writes") from None


def language_digest(path: Path) -> str:
    """Return the digest of a language's file, or of the Arrow tables of its folder, which hold no paths or dates."""
    return file_digest(path) if path.is_file() else digest([file_digest(table) for table in saved_tables(path)])
