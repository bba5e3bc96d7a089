"""The files of a store: in a folder, or behind an fsspec URL such as ``s3://bucket/path``."""

import contextlib
import errno
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import fsspec

from xlharm.errors import StoreError, UserError
from xlharm.plain_files import expanded
from xlharm.plan.digest import digest
from xlharm.store.disk import Disk
from xlharm.store.process import process_name

logger = logging.getLogger(__name__)

FOLDERS = ("stages", "corrupt", "failures", "partial", "leases", "tmp", "grids", "bases", "tune", "logs", "live")
"""The folders of a store."""
RETRIES = (0.1, 0.5, 2.0)
"""Seconds to wait before a file that cannot be read is tried again."""
_WRITABLE = ".writable"  # of a remote store
_CONFLICT = {409, 412}  # HTTP: the file exists, or another client is writing it; s3fs does not map both on every server
_BUSY = {429, 500, 502, 503, 504}  # HTTP: the server's own trouble, which may pass
_EMPTY = 416  # HTTP: the file has no byte at the start
_ABSENT = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
}  # what is there is no file: reading again changes nothing
_PASSING = {
    errno.EIO,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
}
"""Errors of the system that say nothing about what the user gave."""
_T = TypeVar("_T")


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
        disk: does the single operations on files of a local store.

    Attributes:
        empty: whether the place is opened only for reading and is empty or missing.
        writes: whether it is opened for writing.

    Raises:
        UserError: the place cannot be written or read, or the package for its protocol is not installed.
        StoreError: it cannot at present: the system reports an error that may pass.
    """

    def __init__(self, url: str, *, writes: bool = True, disk: Disk | None = None) -> None:
        refuse_password(url)
        self.empty, self.writes = False, writes
        self.url = url if "://" in url else str(expanded(url).absolute())
        self.remote = "://" in url and not url.startswith("file://")
        self.disk = disk or Disk()
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
            self._check_folders()
            if not writes:
                self.empty = self._is_empty()
            elif self.remote:
                self._fs.pipe_file(self.at(_WRITABLE), b"")  # a missing bucket is never created
            else:
                self._write_probe()
        except ImportError as error:
            hint = ": pip install 'xlharm[s3]'" if url.startswith("s3") else ""
            raise UserError(f"--store {url}: {line_of(error)}{hint}") from None
        except Exception as error:
            if isinstance(error, UserError):
                raise
            why = f"--store {url}: cannot be {'written' if writes else 'read'}: {line_of(error)}"
            if getattr(error, "errno", None) in _PASSING or _status(error) in _BUSY:
                raise StoreError(why) from error
            raise UserError(why) from None

    def _is_empty(self) -> bool:
        try:
            return not self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return True

    def _check_folders(self) -> None:
        for path in () if self.remote else (self.local / name for name in FOLDERS):
            if (path.is_symlink() or path.exists()) and not path.is_dir():
                raise UserError(f"--store {self.url}: {path.name} is no folder: move it away, or give another store")

    def _write_probe(self) -> float:
        """Write a file of our own, which other users of the store cannot lock, and return when it was written."""
        name = f"tmp/{process_name()}-{uuid.uuid4().hex[:8]}"
        self._make_parents(self.local / name)
        self.disk.write(self.local / name, b"")
        try:
            return self.modified(name)
        finally:
            self.remove(name)

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

    def read(self, name: str) -> bytes:
        """Read a small file by its name below the store's root.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: it is there, but cannot be read.
        """
        if not self.remote:
            return self.patiently(lambda: self.disk.read(self.local / name), name)
        try:
            with self.reach() as fs:
                return bytes(fs.cat_file(self.at(name), start=0))  # without a start s3fs sends a request for the size
        except StoreError as error:
            if error.status != _EMPTY:
                raise
            return b""

    def read_text(self, name: str) -> str:
        """Read a small text file; see ``read``."""
        return self.read(name).decode("utf-8")

    def patiently(self, read: Callable[[], _T], name: str) -> _T:
        """Call ``read``, which reads a local file, again while the system reports an error.

        An error of reading (EIO, EMFILE, ESTALE, EACCES, …) says nothing about the file's content.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: it cannot be read.
        """
        for delay in (*RETRIES, None):
            try:
                return read()
            except OSError as error:
                if error.errno in _ABSENT:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(error.errno or errno.ENOENT), name) from None
                why = f"{self.url}/{name}: cannot be read: {error.strerror or line_of(error)}"
                if delay is None:
                    raise StoreError(why) from error
                logger.warning("%s; trying again", why)
                time.sleep(delay)
        raise AssertionError("the last delay is None")

    def _persistently(self, write: Callable[[], _T], name: str) -> _T:
        """Call ``write``, which changes a small local file, again while the system reports an error that may pass."""
        for delay in RETRIES:
            try:
                return write()
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                logger.warning("%s/%s: cannot be written: %s; trying again", self.url, name, error.strerror)
                time.sleep(delay)
        return write()

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file, or replace it in one step."""
        self._persistently(lambda: self._write_text(name, text), name)

    def _write_text(self, name: str, text: str) -> None:
        with self.scratch() as folder:
            self.disk.write(folder / "text", text.encode("utf-8"))
            self.put(folder / "text", name)

    def create(self, name: str, text: str) -> bool:
        """Write a small text file unless it exists; when several processes try at once, exactly one succeeds.

        Returns:
            Whether this call created the file.

        Raises:
            StoreError: a remote store refuses exclusive creation, or cannot be reached.
        """
        try:
            if not self.remote:
                self._persistently(lambda: self._create(name, text), name)
                return True
            with self.reach() as fs, fs.open(self.at(name), "xb") as handle:
                handle.write(text.encode("utf-8"))
        except FileExistsError:
            return False
        except StoreError as error:
            if error.status not in _CONFLICT:
                raise
            return False
        return True

    def _create(self, name: str, text: str) -> None:
        self._make_parents(self.local / name)
        self.disk.write(self.local / name, text.encode("utf-8"), new=True)

    def put(self, path: Path, name: str, *, sync: bool = True) -> None:
        """Move a file into the store; readers see the whole file or none.

        Args:
            path: the file.
            name: its name in the store.
            sync: whether it must survive a loss of power.
        """
        if self.remote:
            with self.reach() as fs:
                fs.put_file(str(path), self.at(name))
            path.unlink()
            return
        target = self.local / name
        self._make_parents(target)
        self.disk.share(path)
        if sync:
            self.disk.sync(path)
        self.disk.move(path, target)
        if sync:
            self.disk.sync(target.parent)

    def _make_parents(self, path: Path) -> None:
        """Make the folders above a path, so that they survive a loss of power."""
        missing = [p for p in path.parents if not p.is_dir()]
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another process may have made it
                self.disk.make_folder(folder)
            self.disk.sync(folder.parent)

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

    def digest_of(self, name: str) -> tuple[int, str]:
        """Return the size and the SHA-256 (hex) of a file.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: it is there, but cannot be read.
        """
        with self.file(name) as path:
            return self.patiently(lambda: (self.disk.stat(path).st_size, self.disk.digest(path)), name)

    def size_of(self, name: str) -> int:
        """Return a file's size in bytes.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: a local file's size cannot be read, or the remote store cannot be reached.
        """
        if not self.remote:
            return self.patiently(lambda: self.disk.stat(self.local / name), name).st_size
        with self.reach() as fs:
            return int(fs.size(self.at(name)))

    def is_there(self, name: str) -> bool:
        """Whether a local store has a file or folder of this name."""
        try:
            self.patiently(lambda: self.disk.stat(self.local / name), name)
        except FileNotFoundError:
            return False
        return True

    def names_in(self, folder: str) -> list[tuple[str, bool]]:
        """Return the names in a folder of a local store, if it exists, and for each whether it is a folder."""
        try:
            return self.patiently(lambda: self.disk.entries(self.local / folder), folder)
        except FileNotFoundError:
            return []

    def listing(self, folder: str) -> dict[str, FileInfo]:
        """Return all files below a folder, by their names below the root."""
        if self.remote:
            with self.reach() as fs:  # one request for each thousand files
                details = fs.find(self.at(folder), detail=True)
            return {path.removeprefix(self.at("")): _file_info(info) for path, info in details.items()}
        files: dict[str, FileInfo] = {}
        for entry, is_folder in self.names_in(folder):
            name = f"{folder}/{entry}"
            if is_folder:
                files |= self.listing(name)
            else:
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile, or a link to nothing
                    files[name] = FileInfo(self.patiently(partial(self.disk.stat, self.local / name), name).st_size)
        return files

    def remove(self, *names: str) -> None:
        """Delete files, in this order; missing ones are skipped."""
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if self.remote:
                    with self.reach() as fs:
                        fs.rm_file(self.at(name))
                else:
                    self._persistently(partial(self.disk.remove, self.local / name), name)

    def remove_folder(self, name: str) -> None:
        """Delete a folder and everything in it, if it exists."""
        if self.remote:
            with contextlib.suppress(FileNotFoundError), self.reach() as fs:
                fs.rm(self.at(name), recursive=True)
        with contextlib.suppress(FileNotFoundError):
            self.disk.remove_folder(self.local / name)

    def modified(self, name: str) -> float:
        """Return when a file was last written, in seconds since the epoch by the store's clock."""
        if not self.remote:
            return self.patiently(lambda: self.disk.stat(self.local / name), name).st_mtime
        with self.reach() as fs:
            return float(fs.modified(self.at(name)).timestamp())

    def now(self) -> float:
        """Return the time by the store's clock, in seconds since the epoch; the clocks of machines may differ."""
        if not self.remote:
            return self._write_probe()
        self.write_text(_WRITABLE, "")
        return self.modified(_WRITABLE)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder, for a local store on its filesystem; it is removed unless it is committed.

        Its name begins with that of this process, so that others can remove it when the process has been killed.
        """
        folder = self.local / "tmp" / f"{process_name()}-{uuid.uuid4().hex[:8]}"
        self._make_parents(folder)
        self.disk.make_folder(folder)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):  # what is left is removed by ``sweep``
                self.disk.remove_folder(folder)


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
