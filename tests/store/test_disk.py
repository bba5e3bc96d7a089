"""A fault in every single operation of a local store: what was stored stays, and nothing half-written counts."""

import errno
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.engine.worlds import FakeExecutor, run
from tests.store.faulty import READS, CrashError, FaultyDisk
from tests.store.test_store import PLAN, STAGE, commit
from xlharm.engine.trouble import trouble_of
from xlharm.errors import CorruptArtifactError, StoreError
from xlharm.plan.stage import Stage
from xlharm.store import files
from xlharm.store.checkpoint import Checkpoints, DamagedCheckpointError
from xlharm.store.disk import Disk
from xlharm.store.record import Failure, Record
from xlharm.store.store import Store

FIRST, OTHER = STAGE, list(PLAN.stages.values())[1]
FAILURE = Failure(key=OTHER.key, kind=OTHER.kind, label="x", reason="nan", message="m", final=True, failed=Record.now())
Action = Callable[[Store], object]


def commit_on(store: Store, stage: Stage = OTHER) -> None:
    """Commit a stage whose own file is written through the store's disk as well."""
    with store.scratch() as folder:
        store.disk.write(folder / "rows.txt", b"result")
        store.commit(stage, folder, metrics={}, timings={}, provenance={})


def checkpoint(store: Store, step: str = "2") -> None:
    Checkpoints(store, "pack").write(step, lambda path: store.disk.write(path, f"state {step}".encode()))


ACTIONS: dict[str, Action] = {
    "commit": commit_on,
    "commit over a half": commit_on,
    "checkpoint": checkpoint,
    "failure": lambda store: store.write_failure(FAILURE),
    "text": lambda store: store.write_text("tune/search.json", "new" * 50),
    "lease": lambda store: store.create("leases/x", "owner"),
    "unfinish": lambda store: store.unfinish(FIRST.kind, FIRST.key),
    "forget": lambda store: store.forget(f"stages/{FIRST.kind}/{FIRST.key[:16]}"),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RETRIES", (0.0, 0.0, 0.0))


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    """Return folders of stores, one after another."""
    return (tmp_path / str(i) for i in itertools.count())


def prepared(place: Path, action: str) -> None:
    """Fill a store before something fails in it."""
    store = Store(str(place), disk=FaultyDisk())
    commit(store, FIRST)
    store.write_text("tune/search.json", "old" * 50)
    checkpoint(store, "1")
    if action == "commit over a half":
        half = place / "stages" / OTHER.kind / OTHER.key[:16]
        half.mkdir(parents=True, exist_ok=True)
        (half / "rows.txt").write_text("half")


def check_after(place: Path, action: str) -> None:
    """Check that everything in a store is sound or known to be missing, and that the action can be done again."""
    store = Store(str(place), disk=FaultyDisk())
    assert store.unsound(s for s in (FIRST, OTHER) if store.has(s)) == {}
    if action not in {"unfinish", "forget"}:
        assert store.has(FIRST)
    assert store.read_text("tune/search.json") in {"old" * 50, "new" * 50}
    assert store.failures(PLAN.stages) in ({}, {OTHER.key: FAILURE})
    checkpoints = Checkpoints(store, "pack")
    for name in checkpoints.names():
        try:
            assert checkpoints.read(name, Path.read_text) == f"state {name}"
        except DamagedCheckpointError:
            assert name == "2"
    ACTIONS[action](store)
    if action.startswith("commit"):
        assert store.has(OTHER)
        assert (store.path(OTHER.kind, OTHER.key) / "rows.txt").read_text() == "result"
    if action == "checkpoint":
        assert checkpoints.read("2", Path.read_text) == "state 2"


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fault", ["crash", "torn", "power"])
def test_a_crash_at_any_operation_leaves_a_sound_store(
    places: Iterator[Path], action: str, fault: Literal["crash", "torn", "power"]
) -> None:
    steps = 0
    for at in itertools.count():
        place = next(places)
        prepared(place, action)
        disk = FaultyDisk(fault=fault, seed=at)
        store = Store(str(place), disk=disk)
        disk.begin(at)
        try:
            ACTIONS[action](store)
        except CrashError:
            steps += 1
        check_after(place, action)
        if not disk.failed:
            break
    assert steps >= (1 if action == "lease" else 2)


def error_of(action: Action, store: Store) -> OSError | None:
    try:
        action(store)
    except OSError as error:
        return error
    return None


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_operation_is_raised_and_leaves_a_sound_store(
    places: Iterator[Path], action: str, error: int
) -> None:
    for at in itertools.count():
        place = next(places)
        prepared(place, action)
        disk = FaultyDisk(fault=error)
        store = Store(str(place), disk=disk)
        disk.begin(at)
        raised = error_of(ACTIONS[action], store)
        if raised is not None:
            assert raised.errno == error
            assert trouble_of(raised).kind == ("disk_full" if error == errno.ENOSPC else "io")
            assert disk.failed.startswith("remove_folder") or not list((place / "tmp").iterdir())
        check_after(place, action)
        if not disk.failed:
            break
    assert at >= 1


def looked_at(store: Store) -> object:
    """Read what a run, `results` and `status` read."""
    record = store.record(FIRST.kind, FIRST.key)
    return (
        store.done(PLAN.stages), store.has(FIRST), store.kind_of(FIRST.key), record, store.unsound([FIRST, OTHER]),
        store.path(FIRST.kind, FIRST.key).name, store.folders(), store.failures(PLAN.stages),
        Checkpoints(store, "pack").read("1", Path.read_text),
    )  # fmt: skip


def looked_at_with(place: Path, disk: FaultyDisk, *, at: int) -> tuple[object, int]:
    """Read with an operation that fails; return what was read, and the number of operations."""
    store = Store(str(place), disk=disk)
    disk.begin(at)
    return looked_at(store), disk.count


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_a_read_that_fails_once_is_tried_again(tmp_path: Path, error: int) -> None:
    prepared(tmp_path, "commit")
    commit(Store(str(tmp_path)), OTHER)
    wanted, count = looked_at_with(tmp_path, FaultyDisk(counted=READS), at=-1)
    for at in range(count):
        failing = FaultyDisk(fault=error, counted=READS)
        assert looked_at_with(tmp_path, failing, at=at)[0] == wanted
        assert failing.failed
    assert count > 20
    assert not (tmp_path / "corrupt").exists()


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_a_read_that_always_fails_is_told_and_is_no_damage(tmp_path: Path, error: int) -> None:
    prepared(tmp_path, "commit")
    commit(Store(str(tmp_path)), OTHER)
    _, count = looked_at_with(tmp_path, FaultyDisk(counted=READS), at=-1)
    for at in range(count):
        failing = FaultyDisk(fault=error, counted=READS, times=10**6)
        with pytest.raises(StoreError, match=f"^{tmp_path}/.*: cannot be read: ") as caught:
            looked_at_with(tmp_path, failing, at=at)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "corrupt").exists()
    assert Store(str(tmp_path)).unsound([FIRST, OTHER]) == {}


@pytest.mark.parametrize("times", [1, 10**6])
def test_a_report_of_damage_that_cannot_be_confirmed_moves_nothing(tmp_path: Path, times: int) -> None:
    prepared(tmp_path, "commit")
    for at in itertools.count():
        disk = FaultyDisk(fault=errno.ESTALE, counted=READS, times=times)
        store = Store(str(tmp_path), disk=disk)
        disk.begin(at)
        assert not store.quarantine(FIRST.kind, FIRST.key)
        if not disk.failed:
            break
    assert at >= 4  # two files of a seal, a size and a digest
    assert Store(str(tmp_path)).unsound([FIRST]) == {}


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE])
def test_no_stage_is_computed_again_because_a_read_failed(tmp_path: Path, error: int) -> None:
    run(Store(str(tmp_path), disk=FaultyDisk()), FakeExecutor(Store(str(tmp_path), disk=FaultyDisk())))
    counting = FaultyDisk(counted=READS)
    finished = Store(str(tmp_path), disk=counting)
    counting.begin(-1)
    run(finished, FakeExecutor(finished))
    for at in range(0, counting.count, counting.count // 16):
        disk = FaultyDisk(fault=error, counted=READS)
        store = Store(str(tmp_path), disk=disk)
        disk.begin(at)
        executor = FakeExecutor(store)
        assert run(store, executor).exit_code == 0
        assert executor.computed == []
        assert disk.failed
    assert not (tmp_path / "corrupt").exists()


@pytest.mark.parametrize("shape", ["file", "link", "folder"])
def test_what_lies_in_the_place_of_a_stage_is_moved_away(tmp_path: Path, shape: str) -> None:
    store = Store(str(tmp_path))
    commit(store, FIRST)
    place = tmp_path / "stages" / OTHER.kind / OTHER.key[:16]
    place.parent.mkdir(parents=True, exist_ok=True)
    match shape:
        case "file":
            place.write_text("mine")
        case "link":
            place.symlink_to(tmp_path / "nowhere")
        case "folder":
            (place / "notes").mkdir(parents=True)
    assert not store.has(OTHER)
    assert store.done(PLAN.stages) == {FIRST.key}
    with pytest.raises(CorruptArtifactError):
        store.record(OTHER.kind, OTHER.key)
    assert set(store.folders()) - {f"stages/{OTHER.kind}/{OTHER.key[:16]}"} == {f"stages/{FIRST.kind}/{FIRST.key[:16]}"}
    commit(store, OTHER)
    assert store.unsound([FIRST, OTHER]) == {}
    assert len(list((tmp_path / "corrupt").iterdir())) == 1


def test_a_folder_that_cannot_be_synced_is_no_error_and_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    (tmp_path / "file").touch()
    monkeypatch.setattr("os.fsync", refuse)
    Disk().sync(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        Disk().sync(tmp_path / "file")
