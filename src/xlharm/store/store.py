"""The store: atomic commits into ``STORE/stages/<kind>/<key[:16]>/``, and verified reads.

A stage's ``_SUCCESS`` holds the digest of its ``record.json``, and the record those of all its files. A commit to a
local store renames a folder; a commit to a remote store uploads the files and then ``_SUCCESS``. No file is a pickle.
"""

import contextlib
import errno
import hashlib
import json
import math
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from xlharm.errors import CorruptArtifactError, OlderStageError, StoreError
from xlharm.parallel import side_by_side
from xlharm.plan.digest import digest, file_digest
from xlharm.plan.stage import KINDS, MODELS, Kind, Stage
from xlharm.store.disk import Disk
from xlharm.store.files import Files, line_of
from xlharm.store.record import Artifact, Failure, Record, of_another_format, seal

SUCCESS = "_SUCCESS"
RECORD = "record.json"
_LARGE = 8 << 20  # adapters of more bytes are compared by size when a run begins, and wholly when they are used
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}  # errors of a rename onto what exists


class Store(Files):
    """A store of finished stages at a folder or an fsspec URL.

    Args:
        url: folder or URL.
        writes: see ``Files``.
        disk: see ``Files``.

    Raises:
        UserError: the place cannot be written or read, or the package for its protocol is not installed.
    """

    def __init__(self, url: str, *, writes: bool = True, disk: Disk | None = None) -> None:
        super().__init__(url, writes=writes, disk=disk)
        self._versions: dict[str, str] = {}  # of records, from the last listing: cached records need no request
        self._sound: set[str] = set()  # stages whose files this process has compared with their record

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
        if not self.remote:
            names = [name for name, _ in self.names_in(f"stages/{kind}")]
            there = side_by_side([partial(self.is_there, f"stages/{kind}/{name}/{SUCCESS}") for name in names])
            return {name for name, finished in zip(names, there, strict=True) if finished}
        files = self.listing(f"stages/{kind}")
        finished = {name.split("/")[-2] for name in files if name.endswith(f"/{SUCCESS}")}
        for folder in finished:
            name = f"stages/{kind}/{folder}"
            versions = [files[f"{name}/{part}"].version for part in (RECORD, SUCCESS) if f"{name}/{part}" in files]
            if len(versions) == 2 and all(versions):
                self._versions[name] = digest(tuple(versions))
        return finished

    def has(self, stage: Stage) -> bool:
        """Whether a stage is finished."""
        return self._is_finished(stage.kind, stage.key)

    def kind_of(self, key: str) -> Kind | None:
        """Return the kind of a finished stage, or None when it is not in the store."""
        return next((kind for kind in KINDS if self._is_finished(kind, key)), None)

    def _is_finished(self, kind: str, key: str) -> bool:
        name = f"{_folder(kind, key)}/{SUCCESS}"
        if not self.remote:
            return self.is_there(name)
        try:
            return bool(self.read(name))  # one request; `exists` of s3fs would also list folders
        except FileNotFoundError:
            return False

    def record(self, kind: str, key: str) -> Record:
        """Read a finished stage's record, by its key or the first 16 digits of it.

        Raises:
            CorruptArtifactError: it is not the record that was committed for this stage.
            OlderStageError: it is stored in another format.
            StoreError: it cannot be read.
        """
        name = f"{_folder(kind, key)}/{RECORD}"
        try:
            record = Record.model_validate_json(self.record_bytes(kind, key[:16]))
        except StoreError:
            raise
        except CorruptArtifactError as error:
            error.key = key  # the full one, which its folder does not say
            raise
        except FileNotFoundError as error:
            raise CorruptArtifactError(f"{name}: {line_of(error)}", key=key) from None
        except ValueError as error:
            raise CorruptArtifactError(f"{name}: not a record: {line_of(error)}", key=key) from None
        if record.kind != kind or not record.key.startswith(key):
            raise CorruptArtifactError(f"{name}: record of another stage ({record.key[:16]}…)", key=key)
        return record

    def record_bytes(self, kind: str, folder: str) -> bytes:
        """Read a record by its stage's folder, and compare it with the digest in ``_SUCCESS``.

        A remote record is cached by the versions of both in the last listing.

        Raises:
            CorruptArtifactError: its digest is another one.
            OlderStageError: it is stored in another format.
            FileNotFoundError: a file is missing.
            StoreError: a file cannot be read.
        """
        name = f"stages/{kind}/{folder}"
        version = self._versions.get(name)
        cached = self.local / "records" / f"{version}.json"
        if version is not None:
            with contextlib.suppress(OSError):
                head, line_end, record = cached.read_bytes().partition(b"\n")
                if head + line_end == seal(record):
                    return record
        found, record = self.read(f"{name}/{SUCCESS}"), self.read(f"{name}/{RECORD}")
        if found != seal(record):
            if of_another_format(found, record):
                raise OlderStageError(f"{name}: was stored by another version of xlharm", key=folder)
            raise CorruptArtifactError(f"{name}: {RECORD} does not match the checksum in {SUCCESS}", key=folder)
        if version is not None:
            cached.parent.mkdir(parents=True, exist_ok=True)
            with self.scratch() as scratch:
                (scratch / RECORD).write_bytes(found + record)
                (scratch / RECORD).replace(cached)
        return record

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
            self.verify(record)
        return folder

    def verify(self, record: Record, *, most: float = math.inf) -> None:
        """Compare a stage's files, in the store itself, with its record.

        Args:
            record: the stage's record.
            most: larger files are compared by their size only.

        Raises:
            CorruptArtifactError: a file is missing or does not match its checksum.
            StoreError: a file cannot be read.
        """
        for file, artifact in record.files.items():
            name = f"{_folder(record.kind, record.key)}/{file}"
            try:
                if artifact.size <= most:
                    same = self.digest_of(name) == (artifact.size, artifact.sha256)
                else:
                    same = self.size_of(name) == artifact.size
            except FileNotFoundError:
                raise CorruptArtifactError(f"{name}: is missing", key=record.key) from None
            if not same:
                raise CorruptArtifactError(f"{name}: does not match its checksum", key=record.key)

    def content(self, record: Record, file: str) -> bytes:
        """Return the content of a stage's file in a local store, which matches its checksum: it is read only once.

        Raises:
            CorruptArtifactError: the file is missing or does not match its checksum.
            StoreError: it cannot be read.
        """
        name, wanted = f"{_folder(record.kind, record.key)}/{file}", record.files.get(file)
        try:
            content = self.read(name)
        except FileNotFoundError:
            raise CorruptArtifactError(f"{name}: is missing", key=record.key) from None
        if wanted is None or (len(content), hashlib.sha256(content).hexdigest()) != (wanted.size, wanted.sha256):
            raise CorruptArtifactError(f"{name}: does not match its checksum", key=record.key)
        return content

    def sound(self, stages: dict[str, Stage]) -> tuple[set[str], dict[str, CorruptArtifactError]]:
        """Return the keys of the finished stages that are sound, and what is wrong with the other finished ones.

        In a remote store each record costs two requests, so it is looked at only when all of ``stages`` are finished;
        until then its stages are checked when they are used.

        Raises:
            StoreError: a file cannot be read.
        """
        done = self.done(stages)
        looked_at = done if not self.remote or len(done) == len(stages) else set()
        flaws = self.unsound(stages[key] for key in looked_at)
        return done - flaws.keys(), flaws

    def unsound(self, stages: Iterable[Stage]) -> dict[str, CorruptArtifactError]:
        """Compare finished stages with their records; return what is wrong, by key.

        Of large adapters only the sizes are compared here, and of adapters in a remote store only the records: they
        are read when they are used. A stage that was sound is not compared again by this process.

        Raises:
            StoreError: a file cannot be read, which says nothing about its content.
        """
        todo = [stage for stage in stages if stage.key not in self._sound]
        flaws = side_by_side([partial(self._flaw, stage) for stage in todo])
        wrong = {stage.key: flaw for stage, flaw in zip(todo, flaws, strict=True) if flaw is not None}
        self._sound |= {stage.key for stage in todo} - wrong.keys()
        return wrong

    def _flaw(self, stage: Stage) -> CorruptArtifactError | None:
        try:
            record = self.record(stage.kind, stage.key)
            if not self.remote:
                self.verify(record, most=_LARGE if stage.kind in MODELS else math.inf)
            elif stage.kind not in MODELS:
                self.folder_of(record)
        except CorruptArtifactError as error:
            return error
        return None

    def _fetch(self, record: Record, folder: Path) -> None:
        """Download a stage's files unless the cached ones match its record."""
        with contextlib.suppress(CorruptArtifactError):
            return _verify(folder, record)
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
            self._versions.pop(name, None)
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
        files = {}
        for path in sorted(scratch.iterdir()):
            self.disk.share(path)
            files[path.name] = Artifact(size=self.disk.stat(path).st_size, sha256=self.disk.digest(path))
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
        text = record.model_dump_json(indent=1).encode("utf-8")
        self.disk.write(scratch / RECORD, text)
        self.disk.write(scratch / SUCCESS, seal(text))
        name = _folder(stage.kind, stage.key)
        if not self.remote:
            self._commit_folder(scratch, name, names=[*files, RECORD, SUCCESS])
        elif not self.has(stage):
            for file in [*files, RECORD, SUCCESS]:
                self.put(scratch / file, f"{name}/{file}")
        self.clear_failure(stage.key)
        return record

    def _commit_folder(self, scratch: Path, name: str, *, names: list[str]) -> None:
        """Rename a complete folder to the name of its stage; what is there already stays if it is a finished stage."""
        target = self.local / name
        for file in names:
            self.disk.sync(scratch / file)
        self.disk.sync(scratch)
        self._make_parents(target)
        for attempt in (1, 2, 3):
            try:
                self.disk.move(scratch, target)
                break
            except OSError as error:
                if error.errno not in _TAKEN or attempt == 3:
                    raise
            with contextlib.suppress(CorruptArtifactError):
                self.record(*name.split("/")[1:])
                return  # another process finished the same stage first: the results are the same
            self._set_aside(name)
        self.disk.sync(target.parent)

    def quarantine(self, kind: str, key: str) -> bool:
        """Mark a stage as unfinished if it is damaged, so that it is computed again; return whether it was.

        It is read once more, because one report of damage may come from another machine's memory or network. If it
        cannot be read, it stays.
        """
        self._sound.discard(key)
        self._versions.pop(_folder(kind, key), None)
        with contextlib.suppress(StoreError):
            try:
                self.verify(self.record(kind, key))
            except CorruptArtifactError:
                self.unfinish(kind, key)
                return True
        return False

    def unfinish(self, kind: str, key: str) -> None:
        """Mark a stage as unfinished, so that it is computed again.

        A local store moves its folder to ``corrupt/``; a remote store deletes only its ``_SUCCESS``.
        """
        name = _folder(kind, key)
        self._sound.discard(key)
        if self.remote:
            self._versions.pop(name, None)
            self.remove(f"{name}/{SUCCESS}")
        else:
            self._set_aside(name)

    def _set_aside(self, name: str) -> None:
        """Move what has a stage's name to ``corrupt/``: a folder, or a file or link that somebody put there."""
        _, kind, folder = name.split("/")
        target = self.local / "corrupt" / f"{kind}-{folder}-{uuid.uuid4().hex[:6]}"
        self._make_parents(target)
        with contextlib.suppress(FileNotFoundError):
            self.disk.move(self.local / name, target)

    def folders(self) -> dict[str, int]:
        """Return the sizes in bytes of all stages' folders, finished, unfinished or quarantined, by name."""
        sizes: Counter[str] = Counter()
        for top in ("stages", "corrupt"):
            depth = 3 if top == "stages" else 2
            for name, file in self.listing(top).items():
                parts = name.split("/")
                if len(parts) > depth:  # a file that lies beside the folders is nobody's
                    sizes["/".join(parts[:depth])] += file.size
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
    """Compare downloaded files with a record; a file that cannot be read is downloaded again, as a damaged one."""
    for name, artifact in record.files.items():
        path = folder / name
        with contextlib.suppress(OSError):
            if path.stat().st_size == artifact.size and file_digest(path) == artifact.sha256:
                continue
        raise CorruptArtifactError(f"{path}: does not match its checksum", key=record.key)
