"""Read all of a store: stages, checkpoints, failures and searches; say what is damaged and set it aside."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from xlharm.errors import CorruptArtifactError, OlderStageError, StoreError
from xlharm.parallel import side_by_side
from xlharm.plan.stage import KINDS, Kind
from xlharm.store.checkpoint import Checkpoints, DamagedCheckpointError
from xlharm.store.ledger import Ledger
from xlharm.store.record import Failure
from xlharm.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """Something in a store that cannot be trusted.

    Attributes:
        name: the file or folder.
        problem: what is wrong.
        repaired: what was done about it; empty when it is still there.
    """

    name: str
    problem: str
    repaired: str = ""

    def __str__(self) -> str:
        return f"{self.problem}: {self.repaired}" if self.repaired else self.problem


@dataclass
class Checked:
    """What a check has read.

    Attributes:
        stages: number of finished stages.
        size: their bytes.
        checkpoints: number of checkpoints.
        flaws: what is wrong.
    """

    stages: int = 0
    size: int = 0
    checkpoints: int = 0
    flaws: list[Flaw] = field(default_factory=list)


def check(store: Store, *, repair: bool) -> Checked:
    """Read everything in a store and compare it with its checksums.

    Args:
        store: the store; opened for writing if it is to be repaired.
        repair: whether to set damaged stages aside, so that the next run computes them again, and to delete damaged
            checkpoints and notes of failures. A file that cannot be read stays: that says nothing about its content.
    """
    checked = Checked()
    for kind in KINDS:
        names = sorted(store.finished(kind))
        checked.stages += len(names)
        for result in side_by_side([partial(_stage, store, kind, name, repair=repair) for name in names]):
            if isinstance(result, Flaw):
                checked.flaws.append(result)
            else:
                checked.size += result
        if not store.remote:  # in a remote store, a stage without _SUCCESS may be one that is being written
            checked.flaws += _unfinished(store, kind, set(names), repair=repair)
    packs = sorted({name.split("/")[1] for name in store.listing("partial")})
    for pack in packs:
        checked.flaws += _checkpoints(store, pack, checked, repair=repair)
    checked.flaws += _notes(store, repair=repair)
    return checked


def _stage(store: Store, kind: Kind, name: str, *, repair: bool) -> "Flaw | int":
    """Check one finished stage; return its size in bytes, or what is wrong."""
    folder = f"stages/{kind}/{name}"
    try:
        record = store.record(kind, name)
        store.verify(record)
        return sum(file.size for file in record.files.values())
    except StoreError as error:
        return Flaw(name=folder, problem=str(error))
    except CorruptArtifactError as error:
        if not repair:
            return Flaw(name=folder, problem=str(error))
        if isinstance(error, OlderStageError):
            store.unfinish(kind, name)
        elif not store.quarantine(kind, name):
            return Flaw(name=folder, problem=f"{error}; not so when it was read again")
        return Flaw(name=folder, problem=str(error), repaired="set aside; the next run computes it again")


def _unfinished(store: Store, kind: Kind, finished: set[str], *, repair: bool) -> Iterator[Flaw]:
    """Yield what lies among a local store's stages without being one."""
    for name, is_folder in store.names_in(f"stages/{kind}"):
        if name not in finished:
            what = "a folder without _SUCCESS" if is_folder else "not a folder"
            if repair:
                store.unfinish(kind, name)
            yield Flaw(
                name=f"stages/{kind}/{name}",
                problem=f"stages/{kind}/{name}: {what}",
                repaired="set aside" if repair else "",
            )


def _checkpoints(store: Store, pack: str, checked: Checked, *, repair: bool) -> Iterator[Flaw]:
    checkpoints = Checkpoints(store, pack)
    for name in sorted(checkpoints.names()):
        checked.checkpoints += 1
        try:
            checkpoints.read(name, Path.stat)
        except StoreError as error:
            yield Flaw(name=f"partial/{pack}/{name}", problem=str(error))
        except DamagedCheckpointError as error:
            if repair:
                checkpoints.remove(name)
            yield Flaw(name=f"partial/{pack}/{name}", problem=str(error), repaired="deleted" if repair else "")


def _notes(store: Store, *, repair: bool) -> Iterator[Flaw]:
    """Yield notes of failures and searches that cannot be understood; a search's is for its user to delete."""
    for folder, model in (("failures", Failure), ("tune", Ledger)):
        for name in store.listing(folder):
            try:
                model.model_validate_json(store.read(name))
            except StoreError as error:
                yield Flaw(name=name, problem=str(error))
            except ValueError:
                own = folder == "failures" and repair
                if own:
                    store.remove(name)
                yield Flaw(name=name, problem=f"{name}: damaged", repaired="deleted" if own else "")
            except FileNotFoundError:
                continue  # removed meanwhile
