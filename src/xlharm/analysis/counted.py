"""Evaluations as they were counted, remembered on this machine: tens of thousands of files are read only once.

What is remembered of an evaluation is its record and its hits, item by item. It counts while the stage's ``_SUCCESS``
holds the digest of that record, and the file of its answers has the size and the time of change that it had when it was
compared with its checksum. Everything else is read again. What a view computes of an evaluation's answers is noted
beside it. The files may be deleted at any time.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.analysis.items import Hits, ItemRates
from xlharm.plan.digest import digest
from xlharm.store.record import Record, seal
from xlharm.store.store import RECORD, SUCCESS, Store

FORMAT = 1
"""Version of the file, and of how hits are counted."""
FEWEST = 500
"""Fewer new evaluations than these are not worth a file."""
ROWS = "rows.parquet"


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One evaluation: its record, and its hits item by item.

    Attributes:
        record: of the stage.
        rates: the hits.
        file: size and time of change (nanoseconds) of its answers before they were compared with their checksum.
    """

    record: Record
    rates: ItemRates
    file: tuple[int, int] | None


def remembered(store: Store, keys: Iterable[str]) -> dict[str, Counted]:
    """Return what is remembered of evaluations and still holds, by stage key.

    Args:
        store: the store; of a remote one nothing is remembered.
        keys: of finished evaluations.
    """
    wanted = set(keys)
    if store.remote or len(wanted) < FEWEST:
        return {}
    try:
        table = pq.read_table(_file(store))
        layouts = _layouts(table)
        rows = zip(*(table[name].to_pylist() for name in ("key", "size", "changed", "record", "of", "qr")), strict=True)
        hits = {name: table[f"{name}_hits"].combine_chunks() for name in ("of", "qr")}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):  # RuntimeError: there is no home
        return {}
    found = {}
    flat = {name: (np.asarray(column.offsets), np.asarray(column.values)) for name, column in hits.items()}
    for i, (key, size, changed, record, *layout) in enumerate(rows):
        if key not in wanted or not _holds(store, key, record=record, file=(size, changed)):
            continue
        parts = []
        for (offsets, values), place in zip(flat.values(), layout, strict=True):
            items, questions = layouts[place]
            parts.append(Hits(items, values[offsets[i] : offsets[i + 1]], questions))
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found[key] = Counted(record=Record.trusted(record), rates=ItemRates(*parts), file=(size, changed))
    return found


def remember(store: Store, evaluations: Mapping[str, Counted], *, new: int) -> None:
    """Write down evaluations that were compared with their checksums, if enough of them are new.

    Args:
        store: where they are.
        evaluations: by stage key.
        new: how many of them are not remembered yet.
    """
    if store.remote or new < FEWEST:
        return
    places: dict[tuple[tuple[str, ...], bytes], int] = {}
    rows = []
    for key, one in evaluations.items():
        if one.file is None:
            continue
        row: dict[str, Any] = {"key": key, "size": one.file[0], "changed": one.file[1]}
        try:
            row["record"] = store.disk.read(_path(store, key, RECORD))
        except OSError:  # removed meanwhile
            continue
        for name, counted in (("of", one.rates.of), ("qr", one.rates.qr)):
            layout = (counted.items, counted.questions.tobytes())
            row |= {name: places.setdefault(layout, len(places)), f"{name}_hits": counted.hits}
        rows.append(row)
    layouts = [{"items": items, "questions": np.frombuffer(asked, np.int64).tolist()} for items, asked in places]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    _write(table.replace_schema_metadata({"layouts": json.dumps(layouts), "format": str(FORMAT)}), store)


_Place = tuple[str, str]
"""Key of an evaluation, and SHA-256 of its answers."""


def notes(store: Store, name: str, *, version: str) -> dict[_Place, Any]:
    """Return what a view has noted of evaluations; nothing when it was noted in another version.

    Args:
        store: where the evaluations are.
        name: of the view.
        version: of what the notes depend on beside the answers.
    """
    try:
        table = pq.read_table(_file(store, name))
        if (table.schema.metadata or {}).get(b"version") != f"{FORMAT} {version}".encode("ascii"):
            return {}
        columns = (table[column].to_pylist() for column in ("key", "answers", "value"))
        return {(key, answers): json.loads(value) for key, answers, value in zip(*columns, strict=True)}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):  # RuntimeError: there is no home
        return {}


def write_notes(store: Store, name: str, *, version: str, values: Mapping[_Place, Any], new: int) -> None:
    """Write down what a view has computed of evaluations, if enough of it is new; see ``notes``."""
    if store.remote or new < FEWEST:
        return
    columns: dict[str, list[str]] = {"key": [key for key, _ in values], "answers": [answers for _, answers in values]}
    table = pa.table({**columns, "value": [json.dumps(value) for value in values.values()]})
    _write(table.replace_schema_metadata({"version": f"{FORMAT} {version}"}), store, name)


def _write(table: pa.Table, store: Store, name: str = "") -> None:
    with contextlib.suppress(OSError, RuntimeError):  # it can be counted again
        path = _file(store, name)
        scratch = path.with_name(f"{path.name}.{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, scratch, compression="zstd", use_dictionary=False)
        scratch.replace(path)


_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("size", pa.int64()),
        ("changed", pa.int64()),
        ("record", pa.binary()),
        *((name, pa.int32()) for name in ("of", "qr")),
        *((f"{name}_hits", pa.list_(pa.int64())) for name in ("of", "qr")),
    ]
)


def _layouts(table: pa.Table) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Return the items that evaluations are about, and each item's number of questions."""
    metadata = table.schema.metadata or {}
    if metadata.get(b"format") != str(FORMAT).encode("ascii"):
        raise ValueError("another version")
    layouts = json.loads(metadata[b"layouts"])
    return [(tuple(one["items"]), np.array(one["questions"], dtype=np.int64)) for one in layouts]


def _holds(store: Store, key: str, *, record: bytes, file: tuple[int, int]) -> bool:
    try:
        return store.disk.read(_path(store, key, SUCCESS)) == seal(record) and file_status(store, key) == file
    except OSError:
        return False


def file_status(store: Store, key: str) -> tuple[int, int] | None:
    """Return the size of an evaluation's answers and when they were changed, in nanoseconds."""
    try:
        status = store.disk.stat(_path(store, key, ROWS))
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _path(store: Store, key: str, name: str) -> Path:
    return Path(f"{store.local}/stages/evaluate/{key[:16]}/{name}")


def _file(store: Store, name: str = "") -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "xlharm" / "counted" / f"{digest(store.url)[:16]}{name and '-'}{name}.parquet"
