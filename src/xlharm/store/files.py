"""The files of a store: in a folder, or behind an fsspec URL such as ``s3://bucket/path``."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from xlharm.errors import StoreError, UserError
from xlharm.plain_files import expanded
from xlharm.plan.digest import digest

_WRITABLE = ".writable"
_CONFLICT = {409, 412}  # HTTP: the file exists, or another client is writing it; s3fs does not map both on every server


class FileInfo(NamedTuple):
    """A file's size in bytes, and a version that changes with its content; empty where the filesystem has none."""

    size: int
    version: str = ""


class Files:
    """Files by their names below a root.

    Args:
        url: folder, or URL of any fsspec filesystem.
        writes: whether files will be written. If so, the folder is created and a test file is written; if not,
            nothing at the URL is changed.

    Attributes:
        empty: whether the place is opened only for reading and is empty or missing.

    Raises:
        UserError: the place cannot be written or read, or the package for its protocol is not installed.
    """

    def __init__(self, url: str, *, writes: bool = True) -> None:
        refuse_password(url)
        self.empty = False
        self.url = url if "://" in url else str(expanded(url).absolute())
        self.remote = "://" in url and not url.startswith("file://")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
            if not writes:
                self.empty = self._is_empty()
                return
            if not self.remote:
                self._fs.makedirs(self._root, exist_ok=True)  # a missing bucket is never created
            self._fs.pipe_file(self.at(_WRITABLE), b"")
        except ImportError as error:
            hint = ": pip install 'xlharm[s3]'" if url.startswith("s3") else ""
            raise UserError(f"--store {url}: {line_of(error)}{hint}") from None
        except Exception as error:  # noqa: BLE001 - every filesystem has its own error classes; all mean the same here
            raise UserError(f"--store {url}: cannot be {'written' if writes else 'read'}: {line_of(error)}") from None

    def _is_empty(self) -> bool:
        try:
            return not self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return True

    @cached_property
    def local(self) -> Path:
        """The store's folder on this machine; for a remote store its cache, which may be deleted at any time."""
        if not self.remote:
            return Path(self._root)
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        folder = caches / "xlharm" / digest(self._fs.unstrip_protocol(self._root))[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder}: the cache of {self.url} cannot be created there ({error.strerror}): set XDG_CACHE_HOME"
            ) from None
        return folder

    def at(self, name: str) -> str:
        """Return the filesystem's path of a name."""
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def reach(self) -> Iterator[Any]:
        """Yield the filesystem with its cache of listings cleared, because other machines write, too.

        Raises:
            StoreError: a remote store cannot be reached, or refuses the request.
        """
        self._fs.invalidate_cache()
        try:
            yield self._fs
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            if not self.remote or getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
                raise
            store_error = StoreError(f"--store {self.url}: {line_of(error)}")
            store_error.status = _status(error)
            raise store_error from error

    def read_text(self, name: str) -> str:
        """Read a small text file by its name below the store's root."""
        with self.reach() as fs:
            return str(
                fs.cat_file(self.at(name), start=0).decode("utf-8")
            )  # without a start s3fs sends a request for the size

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file, or replace it in one step."""
        with self.scratch() as folder:
            (folder / "text").write_text(text, encoding="utf-8")
            self.put(folder / "text", name)

    def create(self, name: str, text: str) -> bool:
        """Write a small text file unless it exists; when several processes try at once, exactly one succeeds.

        Returns:
            Whether this call created the file.

        Raises:
            StoreError: a remote store refuses exclusive creation, or cannot be reached.
        """
        if not self.remote:
            (self.local / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.reach() as fs, fs.open(self.at(name), "xb") as handle:
                handle.write(text.encode("utf-8"))
        except FileExistsError:
            return False
        except StoreError as error:
            if error.status not in _CONFLICT:
                raise
            return False
        return True

    def put(self, path: Path, name: str) -> None:
        """Move a file into the store; readers see the whole file or none."""
        if self.remote:
            with self.reach() as fs:
                fs.put_file(str(path), self.at(name))
            path.unlink()
            return
        target = self.local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """Yield a local path of a file; a remote file is downloaded and deleted when the block ends."""
        if not self.remote:
            yield self.local / name
            return
        with self.scratch() as folder:
            path = folder / Path(name).name
            with self.reach() as fs:
                fs.get_file(self.at(name), str(path))
            yield path

    def listing(self, folder: str) -> dict[str, FileInfo]:
        """Return all files below a folder, by their names below the root."""
        if self.remote:
            with self.reach() as fs:  # one request for each thousand files
                details = fs.find(self.at(folder), detail=True)
            return {path.removeprefix(self.at("")): _file_info(info) for path, info in details.items()}
        files = {}
        for parent, _, names in os.walk(self.local / folder):
            for path in (Path(parent, name) for name in names):
                with contextlib.suppress(FileNotFoundError):
                    files[path.relative_to(self.local).as_posix()] = FileInfo(path.stat().st_size)
        return files

    def remove(self, *names: str) -> None:
        """Delete files, in this order; missing ones are skipped."""
        for name in names:
            with contextlib.suppress(FileNotFoundError), self.reach() as fs:
                fs.rm_file(self.at(name))

    def remove_folder(self, name: str) -> None:
        """Delete a folder and everything in it, if it exists."""
        if self.remote:
            with contextlib.suppress(FileNotFoundError), self.reach() as fs:
                fs.rm(self.at(name), recursive=True)
        shutil.rmtree(self.local / name, ignore_errors=True)

    def modified(self, name: str) -> float:
        """Return when a file was last written, in seconds since the epoch by the store's clock."""
        with self.reach() as fs:
            return float(fs.modified(self.at(name)).timestamp())

    def now(self) -> float:
        """Return the time by the store's clock, in seconds since the epoch; the clocks of machines may differ."""
        self.write_text(_WRITABLE, "")
        return self.modified(_WRITABLE)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder, for a local store on its filesystem; it is removed unless it is committed."""
        parent = self.local / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def refuse_password(url: str) -> None:
    """Refuse a URL with a password: logs, records and the job list of a cluster would show it.

    Raises:
        UserError: the URL holds a password.
    """
    if re.search(r"://[^@]*:[^@]*@", url):
        raise UserError("--store: expected a URL without a password; give it in variables or files (cluster/README.md)")


def _file_info(info: dict[str, Any]) -> FileInfo:
    version = info.get("ETag") or info.get("etag")
    return FileInfo(int(info["size"]), digest(str(version))[:16] if version else "")


def _status(error: Exception) -> int | None:
    """Return the HTTP status of an error of s3fs, if it has one."""
    response = getattr(error.__cause__ or error, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None


def line_of(error: Exception) -> str:
    """Return an error's message on one line of bounded length."""
    return " ".join(str(error).split())[:300] or type(error).__name__
