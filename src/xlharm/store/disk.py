"""The file operations of a store in a folder. Everything goes through here, so that tests can put a fault in each."""

import contextlib
import errno
import os
import shutil
from functools import cache
from pathlib import Path

from xlharm.plan.digest import file_digest


class Disk:
    """Single operations on files and folders; each may raise OSError."""

    def read(self, path: Path) -> bytes:
        """Return a file's content."""
        return path.read_bytes()

    def digest(self, path: Path) -> str:
        """Return the SHA-256 (hex) of a file's content."""
        return file_digest(path)

    def stat(self, path: Path) -> os.stat_result:
        """Return a file's size and times; follows links."""
        return path.stat()

    def entries(self, path: Path) -> list[tuple[str, bool]]:
        """Return the names in a folder, and for each whether it is a folder itself, not a link to one."""
        with os.scandir(path) as entries:
            return [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]

    def write(self, path: Path, content: bytes, *, new: bool = False) -> None:
        """Write a file; with ``new``, fail when it exists."""
        with path.open("xb" if new else "wb") as handle:
            handle.write(content)

    def make_folder(self, path: Path) -> None:
        """Make a folder, which must not exist, with the permissions that the umask leaves."""
        path.mkdir()

    def share(self, path: Path) -> None:
        """Give a file the permissions that the umask leaves: some libraries create files for their user only."""
        wanted = 0o666 & ~_umask()
        if path.stat().st_mode & 0o777 != wanted:
            with contextlib.suppress(PermissionError):  # some network filesystems have no permissions
                path.chmod(wanted)

    def sync(self, path: Path) -> None:
        """Wait until a file's content, or a folder's list of names, is on the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSUP} or not path.is_dir():
                raise  # some network filesystems cannot sync a folder
        finally:
            os.close(descriptor)

    def move(self, path: Path, target: Path) -> None:
        """Rename a file or folder; a file at the target is replaced, a folder with files is an error."""
        os.replace(path, target)  # noqa: PTH105 - of a folder as well

    def remove(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        """Delete a folder and everything in it."""
        shutil.rmtree(path)


@cache
def _umask() -> int:
    """Return the process's umask; on Linux without changing it, which other threads would notice."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next((line for line in lines if line.startswith("Umask:")), "").split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
