"""What a store holds: damaged stages, measured times, records to compare with. Reads only."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from xlharm.errors import CorruptArtifactError, StageError
from xlharm.parallel import side_by_side
from xlharm.plan.build import Plan
from xlharm.plan.digest import file_digest
from xlharm.plan.stage import KINDS, Kind, Stage
from xlharm.plan.timing import Clock
from xlharm.store.record import Record
from xlharm.store.store import Store

_CHECKED_BYTES = 8 << 20  # files up to this size are read when a run begins; larger ones when they are used
_SAMPLED = 24  # records of a kind whose times are averaged
_COMPARED = 2000  # records of a kind among which the most similar one is searched


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The folder of a finished stage."""

    kind: Kind
    name: str  # the first 16 digits of the key


def entries(store: Store, *, kinds: Iterable[Kind] = KINDS) -> Iterator[Entry]:
    """List the finished stages of a store, by kind and name."""
    for kind in kinds:
        for name in sorted(store.finished(kind)):
            yield Entry(kind=kind, name=name)


def record_of(store: Store, entry: Entry) -> Record | None:
    """Read an entry's record; None when it is damaged."""
    with contextlib.suppress(OSError, ValueError):
        return Record.model_validate_json(store.record_text(entry.kind, entry.name))
    return None


def records(store: Store, kind: Kind, *, limit: int = _COMPARED) -> Iterator[Record]:
    """Read the records of at most ``limit`` finished stages of a kind; damaged records are left out."""
    first = itertools.islice(entries(store, kinds=(kind,)), limit)
    yield from filter(None, side_by_side([partial(record_of, store, entry) for entry in first]))


def damaged(store: Store, plan: Plan, done: Iterable[str]) -> list[str]:
    """Return the keys of finished stages whose files do not match their records.

    Compares the sizes of all files and the checksums of small ones. Returns nothing for a remote store, where this
    would download every file: its stages are checked when they are used.
    """
    if store.remote:
        return []
    return [key for key in done if not _sound(store, plan.stages[key].kind, key)]


def _sound(store: Store, kind: Kind, key: str) -> bool:
    try:
        record = store.record(kind, key)
    except CorruptArtifactError:
        return False
    folder = store.local / "stages" / kind / key[:16]
    return all(_matches(folder / name, size=f.size, sha256=f.sha256) for name, f in record.files.items())


def _matches(path: Path, *, size: int, sha256: str) -> bool:
    try:
        if path.stat().st_size != size:
            return False
        return size > _CHECKED_BYTES or file_digest(path) == sha256
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Times in a store.

    Attributes:
        factors: measured seconds divided by the clock's, by kind.
        device: type of the device that they were measured on; None when there are none.
    """

    factors: dict[Kind, float]
    device: Literal["cpu", "cuda"] | None = None


def measured(store: Store, plan: Plan, clock: Clock) -> Measured:
    """Compare a clock with the times of this plan's stages in the store, or of others on its base."""
    done = store.done(plan.stages)
    factors: dict[Kind, float] = {}
    device: Literal["cpu", "cuda"] | None = None
    for kind in (kind for kind in KINDS if plan.naive[kind]):
        keys = [k for k in plan.stages if k in done and plan.stages[k].kind == kind][:_SAMPLED]
        sample = side_by_side([partial(_record, store, kind, key) for key in keys])
        sample = sample or list(records(store, kind, limit=_SAMPLED))
        base = plan.sources.base.digest
        mine = [r for r in sample if r and r.identity.get("base") == base and "share" in r.timings]
        expected = sum(_expected(r, clock) for r in mine)
        if mine and expected > 0:
            factors[kind] = sum(r.timings["share"] for r in mine) / expected
            device = mine[-1].provenance.get("device") or device
    return Measured(factors=factors, device=device)


def _expected(record: Record, clock: Clock) -> float:
    """Return the clock's uncorrected seconds for a stored stage; 0 when this version does not know its settings."""
    identity = record.identity
    with contextlib.suppress(
        StageError, KeyError, TypeError, ValueError, AttributeError
    ):  # a damaged record counts for 0
        stage = Stage(
            kind=identity["kind"], spec=identity["spec"], inputs=tuple(identity["inputs"]), data=identity["data"],
            base=identity["base"], label=record.label,
        )  # fmt: skip
        return clock.uncorrected(stage, slots=int(record.provenance.get("pack_size") or 1))
    return 0.0


def _record(store: Store, kind: Kind, key: str) -> Record | None:
    with contextlib.suppress(CorruptArtifactError):
        return store.record(kind, key)
    return None
