"""What a driver says about its run while it goes on: a small file that others may read, beside its heartbeat."""

import contextlib
import threading
from types import TracebackType
from typing import Self

from xlharm.store.files import Files
from xlharm.store.lease import Leases

FOLDER = "live"
LOCAL_SECONDS = 2.0  # between two writes to a folder
REMOTE_SECONDS = 10.0  # to a bucket, where a write costs a request


class LiveFile:
    """The file of one driver, which a thread writes: a slow or broken store never delays the run.

    Args:
        store: the store.
        token: of the driver's leases; the file is of use as long as its heartbeat goes on.
    """

    def __init__(self, store: Files, token: str) -> None:
        self._store = store
        self._name = f"{FOLDER}/{token}.json"
        self._seconds = REMOTE_SECONDS if store.remote else LOCAL_SECONDS
        self._text = self._written = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="live-file", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._seconds)
        with contextlib.suppress(OSError):  # a file that stays is found by `xlharm gc`
            self._store.remove(self._name)

    def say(self, text: str) -> None:
        """Replace the file's text, at the next write."""
        self._text = text

    def _keep_writing(self) -> None:
        while not self._stop.is_set():
            if self._text != self._written:
                self._written = self._text
                with contextlib.suppress(OSError, RuntimeError):  # it is only looked at
                    self._write(self._written)
            self._stop.wait(self._seconds)

    def _write(self, text: str) -> None:
        with self._store.scratch() as folder:
            (folder / "live").write_text(text, encoding="utf-8")
            self._store.put(folder / "live", self._name, sync=False)


def live_texts(store: Files) -> dict[str, str]:
    """Return the texts of the drivers that are alive, by their tokens.

    Raises:
        StoreError: a remote store cannot be reached.
    """
    names = {name.rpartition("/")[2].removesuffix(".json"): name for name in store.listing(FOLDER)}
    living = Leases(store).drivers() if names else set()
    texts = {}
    for token in sorted(names.keys() & living):
        with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
            texts[token] = store.read_text(names[token])
    return texts


def ended(store: Files) -> list[str]:
    """Return the names of the files of drivers that have ended."""
    names = list(store.listing(FOLDER))
    living = Leases(store).drivers() if names else set()
    return [name for name in names if name.rpartition("/")[2].removesuffix(".json") not in living]
