"""Reads rows of hub data sets, CSV, JSONL and parquet files, and `save_to_disk` folders."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlharm.errors import UserError, nearest

Row = dict[str, Any]
_FILES = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Part:
    """Rows of one language and split, in the source's order."""

    language: str
    split: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Source:
    """What was read: its parts, and for hub data sets the commit."""

    parts: tuple[Part, ...]
    revision: str | None = None


def read_source(
    source: str, *, splits: tuple[str, ...], language: str, revision: str | None, known: tuple[str, ...] = ()
) -> Source:
    """Read a source: one language, or a folder of per-language folders or files.

    Args:
        source: a path, or ``hf://org/name``.
        splits: wanted ones; all where empty.
        language: of what does not say it.
        revision: commit of a hub data set.
        known: names beside codes that stand for languages.

    Raises:
        UserError: it does not exist, cannot be read, or lacks a wanted split.
    """
    if source.startswith("hf://"):
        return _hub(source.removeprefix("hf://"), splits=splits, language=language, revision=revision, known=known)
    if revision:
        raise UserError(f"--revision {revision}: only hub data sets (hf://org/name) have revisions")
    path = Path(source).expanduser()
    if not path.exists():
        raise UserError(f"{source}: no such file or folder; a hub data set is written hf://org/name")
    languages = _per_language(path, known)
    if not languages:
        return Source(_local(path, splits=splits, language=language, alone=path.stem))
    return Source(tuple(p for lang, inner in languages.items() for p in _local(inner, splits=splits, language=lang)))


def _per_language(path: Path, known: tuple[str, ...]) -> dict[str, Path]:
    if not path.is_dir() or _saved(path):
        return {}
    inner = sorted(p for p in path.iterdir() if _saved(p) or p.suffix in _FILES)
    named = {p.stem if p.is_file() else p.name: p for p in inner}
    wrong = next((name for name in named if not LANGUAGE.fullmatch(name) and name not in known), None)
    if not named or wrong:
        told = f"is not a language code (with --mapping FILE: languages: {{{wrong}: CODE}})"
        what = f"{wrong!r} in it {told}" if wrong else "it holds none"
        raise UserError(f"{path}: expected a save_to_disk folder, or one file or folder a language; {what}")
    return named


def _saved(path: Path) -> bool:
    return (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()


def _local(path: Path, *, splits: tuple[str, ...], language: str, alone: str = "") -> tuple[Part, ...]:
    """Read a file or folder; what has no splits is one, of the name ``alone``."""
    import datasets  # noqa: PLC0415 - half a second, for this command only

    if path.is_file() and path.suffix not in _FILES:
        raise UserError(f"{path}: expected one of {', '.join(_FILES)}{nearest(path.suffix, _FILES)}")
    try:
        if path.is_dir():
            found = datasets.load_from_disk(str(path))
            tables = dict(found) if isinstance(found, datasets.DatasetDict) else {alone: found}
        else:
            tables = {alone: _file(path)}
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(f"{path}: cannot be read: {_line(error)}") from None
    return tuple(Part(language, name, tuple(tables[name])) for name in _wanted(tables, splits, where=str(path)))


def _file(path: Path) -> list[Row]:
    """Read a file; CSV cells stay text, so that an id 007 or an answer 1.50 is not turned into a number."""
    import csv  # noqa: PLC0415 - for this command only
    import json  # noqa: PLC0415 - likewise

    import pyarrow.parquet as pq  # noqa: PLC0415 - likewise

    match _FILES[path.suffix]:
        case "csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
        case "json":
            text = path.read_text(encoding="utf-8-sig")
            rows = (
                [json.loads(x) for x in text.split("\n") if x.strip()] if path.suffix == ".jsonl" else json.loads(text)
            )
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ValueError("expected one JSON object a row")
            return rows
        case _:
            return list(pq.read_table(path).to_pylist())


def _wanted(names: Iterable[str], splits: Sequence[str], *, where: str) -> list[str]:
    have = list(names)
    missing = next((split for split in splits if split not in have), None)
    if missing:
        shown = ", ".join(filter(None, have)) or "none"
        raise UserError(f"{where}: --split {missing}: it has no such split{nearest(missing, have)} (it has {shown})")
    return list(splits) or have


def _hub(name: str, *, splits: tuple[str, ...], language: str, revision: str | None, known: tuple[str, ...]) -> Source:
    """Read a hub data set.

    Configurations that are all named as languages are those. Else a wanted name that is a configuration (as TOFU's
    forget10) stands for its rows.
    """
    import datasets  # noqa: PLC0415 - half a second, for this command only
    from huggingface_hub import HfApi  # noqa: PLC0415 - likewise

    def load() -> Source:
        commit = str(HfApi().dataset_info(name, revision=revision).sha)
        configs = datasets.get_dataset_config_names(name, revision=commit)
        spoken = all(LANGUAGE.fullmatch(config) or config in known for config in configs)
        chosen: list[str | None] = configs if spoken else [x for x in splits if x in configs] or [None]
        parts: list[Part] = []
        for config in chosen:
            found = datasets.load_dataset(name, config, revision=commit)
            taken = list(found) if config and not spoken else _wanted(found, splits, where=f"hf://{name}")
            for split in taken:
                called = config if config and not spoken and len(taken) == 1 else str(split)
                parts.append(Part(config if config and spoken else language, called, tuple(found[split])))
        return Source(tuple(parts), commit)

    return _asked(load, name)


def _asked(load: Callable[[], Source], name: str) -> Source:
    try:
        return load()
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - its client lets through what its own HTTP client raises
        raise UserError(f"hf://{name}: cannot be read from the hub: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
