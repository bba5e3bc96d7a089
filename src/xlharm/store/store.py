"""The store: atomic commits into ``STORE/stages/<kind>/<key[:16]>/``, and verified reads.

A commit to a local store renames a folder; a commit to a remote store uploads the files and then ``_SUCCESS``. No file
is a pickle.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from xlharm.errors import CorruptArtifactError, StoreError
from xlharm.plan.digest import file_digest
from xlharm.plan.stage import KINDS, Kind, Stage
from xlharm.store.files import Files, line_of
from xlharm.store.record import Artifact, Failure, Record

SUCCESS = "_SUCCESS"
RECORD = "record.json"


class Store(Files):
    """A store of finished stages at a folder or an fsspec URL.

    Args:
        url: folder or URL.
        writes: see ``Files``.

    Raises:
        UserError: the place cannot be written or read, or the package for its protocol is not installed.
    """

    def __init__(self, url: str, *, writes: bool = True) -> None:
        super().__init__(url, writes=writes)
        self._versions: dict[str, str] = {}  # of records, from the last listing: cached records need no request

    # -- finished stages -------------------------------------------------------------------------------------

    def done(self, stages: dict[str, Stage]) -> set[str]:
        """Return the keys among ``stages`` that are finished. Needs one listing per kind."""
        done: set[str] = set()
        for kind in {s.kind for s in stages.values()}:
            present = self.finished(kind)
            done |= {k for k, s in stages.items() if s.kind == kind and k[:16] in present}
        return done

    def finished(self, kind: Kind) -> set[str]:
        """Return the first 16 digits of the keys of a kind's finished stages."""
        if self.remote:
            files = self.listing(f"stages/{kind}")
            self._versions |= {name: f.version for name, f in files.items() if name.endswith(RECORD) and f.version}
            return {name.split("/")[-2] for name in files if name.endswith(f"/{SUCCESS}")}
        try:
            entries = list(os.scandir(self.local / "stages" / kind))
        except FileNotFoundError:
            return set()
        return {e.name for e in entries if Path(e.path, SUCCESS).exists()}

    def has(self, stage: Stage) -> bool:
        """Whether a stage is finished."""
        return self._is_finished(stage.kind, stage.key)

    def kind_of(self, key: str) -> Kind | None:
        """Return the kind of a finished stage, or None when it is not in the store."""
        return next((kind for kind in KINDS if self._is_finished(kind, key)), None)

    def _is_finished(self, kind: str, key: str) -> bool:
        name = f"{_folder(kind, key)}/{SUCCESS}"
        if not self.remote:
            return (self.local / name).exists()
        try:
            return bool(self.read_text(name))  # one request; `exists` of s3fs would also list folders
        except FileNotFoundError:
            return False

    def record(self, kind: str, key: str) -> Record:
        """Read a finished stage's record.

        Raises:
            CorruptArtifactError: it is unreadable, or the record of another stage.
        """
        name = f"{_folder(kind, key)}/{RECORD}"
        try:
            record = Record.model_validate_json(self.record_text(kind, key[:16]))
        except StoreError:
            raise
        except (OSError, ValueError) as error:
            raise CorruptArtifactError(f"{name}: unreadable record: {line_of(error)}", key=key) from None
        if record.key != key:
            raise CorruptArtifactError(f"{name}: record of another stage ({record.key[:16]}…)", key=key)
        return record

    def record_text(self, kind: str, folder: str) -> str:
        """Read a record by its stage's folder; a remote record is cached by the version in the last listing."""
        name = f"stages/{kind}/{folder}/{RECORD}"
        version = self._versions.get(name)
        if version is None:
            return self.read_text(name)
        cached = self.local / "records" / f"{version}.json"
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            with self.file(name) as fetched:
                fetched.replace(cached)
        return cached.read_text(encoding="utf-8")

    def path(self, kind: str, key: str) -> Path:
        """Return a local folder with a finished stage's files; a remote stage is downloaded into the cache first.

        Raises:
            CorruptArtifactError: a file is missing or does not match its checksum.
        """
        return self.folder_of(self.record(kind, key))

    def folder_of(self, record: Record) -> Path:
        """Return what ``path`` returns, for a stage whose record has been read.

        Raises:
            CorruptArtifactError: a file is missing or does not match its checksum.
        """
        folder = self.local / _folder(record.kind, record.key)
        if self.remote:
            self._fetch(record, folder)
        else:
            _verify(folder, record)
        return folder

    def _fetch(self, record: Record, folder: Path) -> None:
        """Download a stage's files unless the cached ones match its record."""
        cached = folder.exists()
        with contextlib.suppress(CorruptArtifactError):
            return _verify(folder, record)
        if cached:
            shutil.rmtree(folder, ignore_errors=True)
        name = _folder(record.kind, record.key)
        try:
            with self.scratch() as scratch:
                for file in record.files:
                    with self.reach() as fs:
                        fs.get_file(self.at(f"{name}/{file}"), str(scratch / file))
                _verify(scratch, record)
                (scratch / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
                folder.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(OSError):  # another process may have downloaded it first
                    scratch.replace(folder)
        except (CorruptArtifactError, FileNotFoundError) as error:
            self._versions.pop(f"{name}/{RECORD}", None)
            raise CorruptArtifactError(f"{name}: {line_of(error)}", key=record.key) from None

    def commit(
        self,
        stage: Stage,
        scratch: Path,
        *,
        metrics: dict[str, Any],
        timings: dict[str, float],
        provenance: dict[str, Any],
    ) -> Record:
        """Make a scratch folder's files the result of a stage. The first of several commits stays.

        Args:
            stage: the finished stage.
            scratch: folder with all artefacts, from ``scratch``.
            metrics: numbers about the stage.
            timings: seconds: `pack` and `share`.
            provenance: where the result comes from.
        """
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
        name = _folder(stage.kind, stage.key)
        if not self.remote:
            (scratch / SUCCESS).touch()
            _fsync_all(scratch)
            target = self.local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _rename(scratch, target)
        elif not self.has(stage):
            for file in [*files, RECORD]:
                self.put(scratch / file, f"{name}/{file}")
            self.write_text(f"{name}/{SUCCESS}", stage.key)
        self.clear_failure(stage.key)
        return record

    def quarantine(self, kind: str, key: str) -> None:
        """Mark a damaged stage as unfinished, so that it is computed again.

        A local store moves its folder to ``corrupt/``; a remote store deletes only its ``_SUCCESS``.
        """
        name = _folder(kind, key)
        if self.remote:
            self._versions.pop(f"{name}/{RECORD}", None)
            self.remove(f"{name}/{SUCCESS}")
            return
        target = self.local / "corrupt" / f"{kind}-{key[:16]}-{uuid.uuid4().hex[:6]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self.local / name).rename(target)

    def folders(self) -> dict[str, int]:
        """Return the sizes in bytes of all stages' folders, finished, unfinished or quarantined, by name."""
        sizes: Counter[str] = Counter()
        for top in ("stages", "corrupt"):
            for name, file in self.listing(top).items():
                sizes[name.rpartition("/")[0]] += file.size
        return dict(sizes)

    def forget(self, name: str) -> None:
        """Delete a folder that ``folders`` lists; ``_SUCCESS`` goes first, so that no partial stage looks finished."""
        self.remove(f"{name}/{SUCCESS}")
        self.remove_folder(name)

    # -- failures --------------------------------------------------------------------------------------------

    def write_failure(self, failure: Failure) -> None:
        """Store why a stage has no result."""
        self.write_text(f"failures/{failure.key[:16]}.json", failure.model_dump_json(indent=1))

    def failures(self, stages: dict[str, Stage]) -> dict[str, Failure]:
        """Return the stored failures of these stages, by key."""
        failures = {}
        present = {Path(name).stem for name in self.listing("failures")}
        for key in stages:
            if key[:16] in present:
                with contextlib.suppress(OSError, ValueError):
                    failures[key] = Failure.model_validate_json(self.read_text(f"failures/{key[:16]}.json"))
        return failures

    def clear_failure(self, key: str) -> None:
        """Delete the stored failure of a stage, if there is one."""
        self.remove(f"failures/{key[:16]}.json")


def _folder(kind: str, key: str) -> str:
    return f"stages/{kind}/{key[:16]}"


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
            return  # another process finished the same stage first: the results are the same
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
