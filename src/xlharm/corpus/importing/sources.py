"""Finds the rows of a source: a file, a saved folder, a folder of those by language and split, or a hub data set."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xlharm.corpus.importing.account import LeftOut
from xlharm.corpus.importing.files import Row, is_saved, is_table, named_rows, read_tables
from xlharm.corpus.importing.layout import Place, place_of, split_of
from xlharm.errors import UserError, nearest
from xlharm.plain_files import expanded

DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True)
class Part:
    """Rows of one language and split, in the source's order.

    Attributes:
        language: as the source calls it.
        split: empty where there is only one.
        rows: by column.
        left_out: rows that could not be read.
        joined: places of rows that were given the perturbed answers of a row beside them.
    """

    language: str
    split: str
    rows: tuple[Row, ...]
    left_out: LeftOut = field(default_factory=LeftOut)
    joined: frozenset[int] = frozenset()

    @property
    def read(self) -> int:
        """How many rows the source has here."""
        return len(self.rows) + self.left_out.rows


@dataclass(frozen=True)
class Source:
    """What was read: its parts, and for hub data sets the commit."""

    parts: tuple[Part, ...]
    revision: str | None = None


def read_source(
    source: str, *, splits: tuple[str, ...], language: str | None, revision: str | None, known: tuple[str, ...] = ()
) -> Source:
    """Read a source: one language, or a folder of folders or files whose names say language and split.

    Args:
        source: a path, or ``hf://org/name``.
        splits: wanted ones; all where empty.
        language: of what does not say it; where None it is the one in the source's name, else English.
        revision: commit of a hub data set.
        known: names beside codes that stand for languages.

    Raises:
        UserError: it does not exist, cannot be read, or lacks a wanted split.
    """
    if source.startswith("hf://"):
        return _hub(source.removeprefix("hf://"), splits=splits, language=language, revision=revision, known=known)
    if revision:
        raise UserError(f"--revision {revision}: only hub data sets (hf://org/name) have revisions")
    path = expanded(source)
    if not path.exists():
        raise UserError(f"{source}: no such file or folder; a hub data set is written hf://org/name")
    places = {path: _alone(path, language=language, known=known)}
    if path.is_dir() and not is_saved(path):
        places = _within(path, known=known)
    parts = [part for inner, place in places.items() for part in _parts(inner, place)]
    return Source(_wanted_parts(parts, splits, where=source))


def _alone(path: Path, *, language: str | None, known: Collection[str]) -> Place:
    stem = path.stem if path.is_file() else path.name
    place = place_of(stem, known=known)
    if language is None and place is not None and place.split:
        return place
    return Place("", language or DEFAULT_LANGUAGE)


def _within(path: Path, *, known: Collection[str]) -> dict[Path, Place]:
    """Find the files and saved folders in a folder, and what their names say.

    Raises:
        UserError: there are none, or some name no language; all of these are listed.
    """
    inner = [entry for entry in sorted(path.iterdir()) if is_saved(entry) or is_table(entry)]
    names = {entry: entry.stem if entry.is_file() else entry.name for entry in inner}
    places = {entry: place_of(name, known=known) for entry, name in names.items()}
    unnamed = [names[entry] for entry, place in places.items() if place is None]
    if not places or unnamed:
        first = unnamed[0].rpartition("_")[2] if unnamed else ""
        fix = f"say which they are with --mapping FILE (languages: {{{first}: CODE}})"
        what = f"no language in the name of {', '.join(map(repr, unnamed))}; {fix}" if unnamed else "it holds none"
        raise UserError(
            f"{path}: expected a save_to_disk folder, or files or folders named by language (de) or by split and "
            f"language (forget01_de); {what}"
        )
    return {entry: place for entry, place in places.items() if place is not None}


def _parts(path: Path, place: Place) -> list[Part]:
    stem = path.stem if path.is_file() else path.name
    tables = read_tables(path, alone=place.split or ("" if place.language == stem else stem))
    return [
        Part(place.language, split_of(place, name, among=tables), table.rows, table.left_out)
        for name, table in tables.items()
    ]


def _wanted_parts(parts: Sequence[Part], splits: Sequence[str], *, where: str) -> tuple[Part, ...]:
    wanted = _wanted(dict.fromkeys(part.split for part in parts), splits, where=where)
    return tuple(part for name in wanted for part in parts if part.split == name)


def _wanted(names: Iterable[str], splits: Sequence[str], *, where: str) -> list[str]:
    have = list(names)
    missing = next((split for split in splits if split not in have), None)
    if missing is not None:
        shown = ", ".join(filter(None, have)) or "none"
        raise UserError(f"{where}: --split {missing!r}: it has no such split{nearest(missing, have)} (it has {shown})")
    return list(dict.fromkeys(splits)) or have


def _hub(
    name: str, *, splits: tuple[str, ...], language: str | None, revision: str | None, known: tuple[str, ...]
) -> Source:
    """Read a hub data set.

    Configurations that all name a language are read as such folders would be. Else a wanted name that is a
    configuration (as TOFU's forget10) stands for its rows.
    """
    import datasets  # noqa: PLC0415 - half a second, for data sets only
    from huggingface_hub import HfApi  # noqa: PLC0415 - for the hub only

    def load() -> Source:
        commit = str(HfApi().dataset_info(name, revision=revision).sha)
        configs = datasets.get_dataset_config_names(name, revision=commit)
        places = {config: place_of(config, known=known) for config in configs}
        if all(places.values()):
            parts = []
            for config, place in places.items():
                tables = datasets.load_dataset(name, config, revision=commit)
                assert place is not None
                parts += [
                    Part(place.language, split_of(place, str(split), among=tables), named_rows(tables[split]))
                    for split in tables
                ]
            return Source(_wanted_parts(parts, splits, where=f"hf://{name}"), commit)
        chosen: list[str | None] = [x for x in splits if x in configs] or [None]
        parts = []
        for wanted in chosen:
            tables = datasets.load_dataset(name, wanted, revision=commit)
            taken = list(tables) if wanted else _wanted(tables, splits, where=f"hf://{name}")
            for split in taken:
                called = wanted if wanted and len(taken) == 1 else str(split)
                parts.append(Part(language or DEFAULT_LANGUAGE, called, named_rows(tables[split])))
        return Source(tuple(parts), commit)

    return _asked(load, name)


def _asked(load: Callable[[], Source], name: str) -> Source:
    try:
        return load()
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - its client lets through what its own HTTP client raises
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"hf://{name}: cannot be read from the hub: {message}") from None
