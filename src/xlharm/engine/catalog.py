"""What a store holds: damaged stages, measured times, records to compare with."""

import contextlib
import itertools
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from xlharm.errors import CorruptArtifactError, OlderStageError, StageError, StoreError, UserError
from xlharm.parallel import side_by_side
from xlharm.plan.build import Plan
from xlharm.plan.stage import KINDS, Kind, Stage
from xlharm.plan.timing import Clock
from xlharm.store.record import Record
from xlharm.store.store import Store

_SAMPLED = 24  # records of a kind whose times are averaged
_COMPARED = 2000  # records of a kind among which the most similar one is searched


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The folder of a finished stage."""

    kind: Kind
    name: str  # the key, or its first 16 digits


def entries(store: Store, *, kinds: Iterable[Kind] = KINDS) -> Iterator[Entry]:
    """List the finished stages of a store, by kind and name."""
    for kind in kinds:
        for name in sorted(store.finished(kind)):
            yield Entry(kind=kind, name=name)


def record_of(store: Store, entry: Entry) -> Record | None:
    """Read an entry's record; None when it is damaged."""
    with contextlib.suppress(CorruptArtifactError, StoreError):
        return store.record(entry.kind, entry.name)
    return None


def records(store: Store, kind: Kind, *, limit: int = _COMPARED) -> Iterator[Record]:
    """Read the records of at most ``limit`` finished stages of a kind; damaged records are left out."""
    first = itertools.islice(entries(store, kinds=(kind,)), limit)
    yield from filter(None, side_by_side([partial(record_of, store, entry) for entry in first]))


def set_damage_aside(store: Store, plan: Plan) -> tuple[set[str], list[str]]:
    """Mark damaged stages as unfinished; return the keys of the finished ones, and a line about each damaged one.

    Raises:
        UserError: stages are stored in another version's format.
        StoreError: a file cannot be read.
    """
    done, flaws = store.sound(plan.stages)
    older = [flaw for flaw in flaws.values() if isinstance(flaw, OlderStageError)]
    if older:
        raise UserError(
            f"--store {store.url}: {len(older)} finished stages were stored by another version of xlharm, without a "
            "checksum that this one could check: give another --store, or have them computed again "
            f"(xlharm store check --store {shlex.quote(store.url)} --repair)"
        )
    damaged = [key for key in flaws if store.quarantine(plan.stages[key].kind, key)]
    done |= flaws.keys() - set(damaged)
    return done, [f"{plan.stages[key].label}: {flaws[key]}: it is computed again" for key in damaged]


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
        sample = side_by_side([partial(record_of, store, Entry(kind=kind, name=key)) for key in keys])
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
