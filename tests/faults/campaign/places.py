"""Where a pass keeps its store: a folder, or a bucket behind the tests' S3 server."""

from datetime import UTC
from pathlib import Path
from typing import Protocol

from tests.s3 import S3


class Place(Protocol):
    """What the campaign sees of a store without the store's own code."""

    @property
    def url(self) -> str:
        """What drivers are given."""
        ...

    def stored(self) -> dict[str, float]:
        """Return when each finished stage was stored, in seconds since the epoch, by the name of its folder."""
        ...

    def left(self) -> list[str]:
        """Return what a run must not leave: leases, heartbeats, scratch folders, checkpoints."""
        ...


class Folder:
    """A store in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)

    def stored(self) -> dict[str, float]:
        there = {}
        for path in self.path.glob("stages/*/*"):
            try:
                if (path / "_SUCCESS").exists():
                    there[path.name] = path.stat().st_ctime  # of the rename
            except OSError:
                continue
        return there

    def left(self) -> list[str]:
        return [f"{top}/{p.name}" for top in ("leases", "tmp", "partial") for p in (self.path / top).glob("*")]


class Bucket:
    """A store in a bucket of the server; ``name`` tells passes apart."""

    def __init__(self, server: S3, name: str) -> None:
        self._server, self._prefix = server, f"{name}/"
        self.url = f"s3://bucket/{name}"

    def stored(self) -> dict[str, float]:
        objects = self._server.objects
        return {
            key.split("/")[-2]: value.last_modified.replace(tzinfo=UTC).timestamp()
            for key, value in objects.items() if key.startswith(f"{self._prefix}stages/") and key.endswith("/_SUCCESS")
        }  # fmt: skip

    def left(self) -> list[str]:
        tops = tuple(f"{self._prefix}{top}/" for top in ("leases", "tmp", "partial"))
        return sorted(key.removeprefix(self._prefix) for key in self._server.objects if key.startswith(tops))
