"""The store: atomic commits into ``STORE/stages/<kind>/<key[:16]>/``, and verified reads.

A local folder commits by rename. An fsspec URL (``s3://…``) uploads the files and ``_SUCCESS`` last, and
reads through a local cache. No pickle anywhere.
"""

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from xlharm.errors import CorruptArtifactError, UserError
from xlharm.plan.digest import file_digest
from xlharm.plan.stage import KINDS, Stage
from xlharm.store.record import Artifact, Failure, Record

SUCCESS = "_SUCCESS"
RECORD = "record.json"


class Store:
    """A store of finished stages at a folder or an fsspec URL.

    Args:
        url: folder, or URL of any fsspec filesystem.

    Raises:
        UserError: the place cannot be created or written.
    """

    def __init__(self, url: str) -> None:
        self.url = url if "://" in url else str(Path(url).expanduser().absolute())
        self.remote = "://" in url and not url.startswith("file://")
        self._fs, self._root = fsspec.core.url_to_fs(self.url)
        self._local: Path | None = None
        try:
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(f"{self._root}/.writable", b"")
        except Exception as error:  # noqa: BLE001 - every filesystem has its own errors; all mean the same here
            raise UserError(f"--store {url}: cannot be written: {_line(error)}") from None

    # -- where things lie ------------------------------------------------------------------------------------

    @property
    def local(self) -> Path:
        """The store's folder on this machine: itself, or the cache of a remote one."""
        if self._local is None:
            if self.remote:
                self._local = Path(tempfile.mkdtemp(prefix="xlharm-store-"))
            else:
                self._local = Path(self._root)
        return self._local

    def _folder(self, kind: str, key: str) -> str:
        return f"stages/{kind}/{key[:16]}"

    def _exists(self, name: str) -> bool:
        return bool(self._fs.exists(f"{self._root}/{name}"))

    def read_text(self, name: str) -> str:
        """Read a small text file by its name below the store's root."""
        return str(self._fs.cat_file(f"{self._root}/{name}").decode("utf-8"))

    def write_text(self, name: str, text: str) -> None:
        """Replace a small text file, atomically on a local store."""
        if self.remote:
            self._fs.pipe_file(f"{self._root}/{name}", text.encode("utf-8"))
            return
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)

    # -- finished stages -------------------------------------------------------------------------------------

    def done(self, stages: dict[str, Stage]) -> set[str]:
        """Return the keys among ``stages`` that are finished. One listing a kind, however many stages."""
        found: set[str] = set()
        for kind in {s.kind for s in stages.values()}:
            present = self._finished_folders(kind)
            found |= {k for k, s in stages.items() if s.kind == kind and k[:16] in present}
        return found

    def _finished_folders(self, kind: str) -> set[str]:
        root = f"{self._root}/stages/{kind}"
        if not self.remote:
            try:
                entries = list(os.scandir(root))
            except FileNotFoundError:
                return set()
            return {e.name for e in entries if Path(e.path, SUCCESS).exists()}
        self._fs.invalidate_cache()
        return {p.split("/")[-2] for p in self._fs.glob(f"{root}/*/{SUCCESS}")}

    def has(self, stage: Stage) -> bool:
        """Whether a stage is finished."""
        return self._exists(f"{self._folder(stage.kind, stage.key)}/{SUCCESS}")

    def kind_of(self, key: str) -> str | None:
        """Return the kind of a finished stage, or None when it is not in the store."""
        return next((kind for kind in KINDS if self._exists(f"{self._folder(kind, key)}/{SUCCESS}")), None)

    def record(self, kind: str, key: str) -> Record:
        """Read a finished stage's record.

        Raises:
            CorruptArtifactError: it is unreadable or speaks of another stage.
        """
        name = f"{self._folder(kind, key)}/{RECORD}"
        try:
            record = Record.model_validate_json(self.read_text(name))
        except (OSError, ValueError) as error:
            raise CorruptArtifactError(f"{name}: unreadable record: {_line(error)}", key=key) from None
        if record.key != key:
            raise CorruptArtifactError(f"{name}: record of another stage ({record.key[:16]}…)", key=key)
        return record

    def path(self, kind: str, key: str, *, verify: bool = True) -> Path:
        """Return a local folder with a finished stage's files, fetched when the store is remote.

        Raises:
            CorruptArtifactError: a file is missing or does not match its checksum.
        """
        name = self._folder(kind, key)
        folder = self.local / name
        record = self.record(kind, key)
        if self.remote and not (folder / SUCCESS).exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=folder.parent))
            for file in [*record.files, RECORD]:
                self._fs.get_file(f"{self._root}/{name}/{file}", str(scratch / file))
            (scratch / SUCCESS).touch()
            with contextlib.suppress(OSError):  # another thread of this process may have fetched it first
                scratch.replace(folder)
        if verify:
            _verify(folder, record)
        return folder

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder on the store's filesystem; it is removed unless committed."""
        parent = self.local / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(
        self,
        stage: Stage,
        scratch: Path,
        *,
        metrics: dict[str, Any],
        timings: dict[str, float],
        provenance: dict[str, Any],
    ) -> Record:
        """Make a scratch folder's files the result of a stage. Whoever commits first wins."""
        files = {p.name: Artifact(size=p.stat().st_size, sha256=file_digest(p)) for p in sorted(scratch.iterdir())}
        record = Record(
            key=stage.key,
            kind=stage.kind,
            label=stage.label,
            identity=json.loads(json.dumps(stage.identity())),
            provenance=provenance,
            timings=timings,
            metrics=metrics,
            files=files,
            finished=Record.now(),
        )
        (scratch / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
        name = self._folder(stage.kind, stage.key)
        if self.remote:
            for file in [*files, RECORD]:
                self._fs.put_file(str(scratch / file), f"{self._root}/{name}/{file}")
            self._fs.pipe_file(f"{self._root}/{name}/{SUCCESS}", b"")
        else:
            (scratch / SUCCESS).touch()
            _fsync_all(scratch)
            target = self.local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _rename(scratch, target)
        self.clear_failure(stage.key)
        return record

    def quarantine(self, kind: str, key: str) -> None:
        """Take a damaged stage out of the way, so that it is computed again; its files are kept."""
        name = self._folder(kind, key)
        if self.remote:
            self._fs.rm_file(f"{self._root}/{name}/{SUCCESS}")
            shutil.rmtree(self.local / name, ignore_errors=True)
            return
        target = self.local / "corrupt" / f"{kind}-{key[:16]}-{uuid.uuid4().hex[:6]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self.local / name).rename(target)

    # -- failures --------------------------------------------------------------------------------------------

    def write_failure(self, failure: Failure) -> None:
        """Remember why a stage has no result."""
        self.write_text(f"failures/{failure.key[:16]}.json", failure.model_dump_json(indent=1))

    def failures(self, stages: dict[str, Stage]) -> dict[str, Failure]:
        """Return the remembered failures of these stages."""
        found = {}
        present = {Path(p).stem for p in self._fs.glob(f"{self._root}/failures/*.json")}
        for key in stages:
            if key[:16] in present:
                with contextlib.suppress(OSError, ValueError):
                    found[key] = Failure.model_validate_json(self.read_text(f"failures/{key[:16]}.json"))
        return found

    def clear_failure(self, key: str) -> None:
        """Forget a failure."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/failures/{key[:16]}.json")

    # -- checkpoints of long stages ---------------------------------------------------------------------------

    def checkpoint_folder(self, pack_id: str) -> Path:
        """Return where a pack keeps its mid-stage checkpoint (local to the store's machine or cache)."""
        folder = self.local / "partial" / pack_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_checkpoint(self, pack_id: str) -> None:
        """Remove a pack's checkpoint once its stages are committed."""
        shutil.rmtree(self.local / "partial" / pack_id, ignore_errors=True)


def _verify(folder: Path, record: Record) -> None:
    for name, artifact in record.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != artifact.size or file_digest(path) != artifact.sha256:
            raise CorruptArtifactError(f"{path}: does not match its checksum", key=record.key)


def _rename(scratch: Path, target: Path) -> None:
    try:
        scratch.rename(target)
    except OSError:
        if (target / SUCCESS).exists():
            return  # someone else finished the same stage first: the results are the same
        shutil.rmtree(target)  # a folder without _SUCCESS is no result
        scratch.rename(target)
    _fsync(target.parent)


def _fsync_all(folder: Path) -> None:
    for path in folder.iterdir():
        _fsync(path)
    _fsync(folder)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
