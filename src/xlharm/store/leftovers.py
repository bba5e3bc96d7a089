"""What killed processes leave in a store: scratch folders, heartbeats, leases, checkpoints that nobody continues."""

import contextlib
import time
from collections.abc import Iterator
from functools import cached_property, partial

from xlharm.store.files import Files
from xlharm.store.lease import Leases
from xlharm.store.live import ended
from xlharm.store.process import has_ended

SCRATCH_SECONDS = 86_400.0  # so old is a scratch folder of another machine that is left over
PARTIAL_SECONDS = 7 * 86_400.0  # so old are checkpoints that nobody continues


def sweep(store: Files) -> None:
    """Delete scratch folders, leases and heartbeats of ended processes."""
    with contextlib.suppress(OSError):  # a run needs nothing of it
        delete(store, [*ended(store), *Leases(store).dead(), *_Ages(store).scratch()])


def leftovers(store: Files) -> list[str]:
    """Return the names of files and folders that no living process needs, old checkpoints included."""
    ages = _Ages(store)
    return [*ended(store), *Leases(store).dead(), *ages.scratch(), *ages.checkpoints()]


def delete(store: Files, names: list[str]) -> None:
    """Delete what ``leftovers`` returned."""
    for name in names:
        with contextlib.suppress(NotADirectoryError):
            store.remove_folder(name)
        store.remove(name)


class _Ages:
    """The ages of folders by the store's clock."""

    def __init__(self, store: Files) -> None:
        self._store = store

    def scratch(self) -> Iterator[str]:
        """Yield the scratch folders of ended processes; those of a remote store lie in this machine's cache."""
        for entry, _ in self._store.names_in("tmp"):
            name = f"tmp/{entry}"
            if has_ended(entry) or self._now - self._local_time(name) > SCRATCH_SECONDS:
                yield name

    def checkpoints(self) -> Iterator[str]:
        """Yield the folders of old checkpoints."""
        newest: dict[str, float] = {}
        for file in self._store.listing("partial"):
            folder = "/".join(file.split("/")[:2])
            with contextlib.suppress(FileNotFoundError):
                newest[folder] = max(self._store.modified(file), newest.get(folder, 0.0))
        yield from (folder for folder, modified in newest.items() if self._now - modified > PARTIAL_SECONDS)

    def _local_time(self, name: str) -> float:
        """Return when a local folder or one of its files was last written; now, when it has just been removed."""
        store = self._store
        names = [name, *(f"{name}/{entry}" for entry, _ in store.names_in(name))]
        try:
            return max(store.patiently(partial(store.disk.stat, store.local / n), n).st_mtime for n in names)
        except FileNotFoundError:
            return self._now

    @cached_property
    def _now(self) -> float:
        try:
            return self._store.now()
        except OSError:  # a read-only store: assume that its clock agrees with this machine's
            return time.time()
