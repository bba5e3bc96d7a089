"""Commits are atomic, reads are verified, nothing half-written ever counts."""

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.worlds import COUNTS
from tests.plan.worlds import grid_of, plan_of
from xlharm.errors import CorruptArtifactError, OlderStageError, UserError
from xlharm.plan.stage import Stage
from xlharm.store.checkpoint import Checkpoints, DamagedCheckpointError
from xlharm.store.record import Failure, Record
from xlharm.store.store import Store

PLAN = plan_of(grid_of())
STAGE = next(iter(PLAN.stages.values()))


def commit(store: Store, stage: Stage = STAGE, text: str = "result") -> Record:
    with store.scratch() as folder:
        (folder / "rows.txt").write_text(text)
        metrics = COUNTS if stage.kind == "evaluate" else {"x": 1.5}
        return store.commit(stage, folder, metrics=metrics, timings={"pack": 2.0}, provenance={"device": "cpu"})


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    if request.param == "s3":
        request.getfixturevalue("s3")
        return Store("s3://bucket/store")
    import fsspec

    fsspec.filesystem("memory").store.clear()
    return Store("memory://bucket/store")


def test_a_commit_is_found_and_read_back(store: Store) -> None:
    assert not store.has(STAGE)
    commit(store)
    assert store.has(STAGE)
    assert store.done(PLAN.stages) == {STAGE.key}
    assert store.kind_of(STAGE.key) == STAGE.kind
    assert (store.path(STAGE.kind, STAGE.key) / "rows.txt").read_text() == "result"
    record = store.record(STAGE.kind, STAGE.key)
    assert record.metrics == {"x": 1.5}
    assert record.identity["spec"] == STAGE.identity()["spec"]


def test_a_second_commit_of_the_same_stage_changes_nothing(store: Store) -> None:
    commit(store)
    commit(store, text="late")
    assert (store.path(STAGE.kind, STAGE.key) / "rows.txt").read_text() == "result"


def test_a_half_written_stage_never_counts(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    folder = tmp_path / "stages" / STAGE.kind / STAGE.key[:16]
    folder.mkdir(parents=True)
    (folder / "rows.txt").write_text("half")
    assert not store.has(STAGE)
    commit(store)
    assert (store.path(STAGE.kind, STAGE.key) / "rows.txt").read_text() == "result"


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "remove", "record", "swap", "metrics", "no files", "seal", "empty seal", "whole"]
)
def test_damage_is_noticed_and_computed_again(tmp_path: Path, damage: str) -> None:
    store = Store(str(tmp_path))
    commit(store)
    hurt(store, damage)
    with pytest.raises(CorruptArtifactError) as caught:
        store.path(STAGE.kind, STAGE.key)
    assert caught.value.key == STAGE.key
    store.quarantine(STAGE.kind, caught.value.key)
    assert not store.has(STAGE)
    commit(store)
    store.path(STAGE.kind, STAGE.key)
    assert len(list((tmp_path / "corrupt").iterdir())) == 1


def hurt(store: Store, damage: str) -> None:  # noqa: C901 - a list of kinds of damage
    folder = store.path(STAGE.kind, STAGE.key)
    match damage:
        case "flip":
            (folder / "rows.txt").write_text("resulT")
        case "truncate":
            (folder / "rows.txt").write_text("")
        case "remove":
            (folder / "rows.txt").unlink()
        case "record":
            (folder / "record.json").write_text("{")
        case "metrics":
            replace(folder / "record.json", '"x": 1.5', '"x": 3.5')
        case "no files":
            record = json.loads((folder / "record.json").read_text())
            (folder / "record.json").write_text(json.dumps({**record, "files": {}}))
        case "seal":
            replace(folder / "_SUCCESS", "stage 2", "stage 3")
        case "empty seal":
            (folder / "_SUCCESS").write_text("")
        case "swap" | "whole":
            other = list(PLAN.stages.values())[1]
            commit(store, other)
            for name in ("record.json",) if damage == "swap" else ("record.json", "_SUCCESS", "rows.txt"):
                shutil.copy(store.path(other.kind, other.key) / name, folder / name)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_file_that_the_record_does_not_name_changes_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    commit(store)
    (store.path(STAGE.kind, STAGE.key) / ".nfs0001").write_text("held open by somebody")
    assert store.unsound([STAGE]) == {}


@pytest.mark.parametrize("seal", ["", STAGE.key])
def test_a_stage_of_the_older_format_is_named_as_such(store: Store, seal: str) -> None:
    commit(store)
    name = f"stages/{STAGE.kind}/{STAGE.key[:16]}"
    record = json.loads(store.read_text(f"{name}/record.json"))
    del record["format"]
    store.write_text(f"{name}/record.json", json.dumps(record))
    store.write_text(f"{name}/_SUCCESS", seal)
    with pytest.raises(OlderStageError, match="was stored by another version of xlharm"):
        store.path(STAGE.kind, STAGE.key)


def test_only_confirmed_damage_is_set_aside(store: Store) -> None:
    commit(store)
    assert not store.quarantine(STAGE.kind, STAGE.key)
    assert store.has(STAGE)
    store.write_text(f"stages/{STAGE.kind}/{STAGE.key[:16]}/rows.txt", "resulT")
    assert store.quarantine(STAGE.kind, STAGE.key)
    assert not store.has(STAGE)


def test_a_commit_replaces_a_stage_with_a_damaged_record_only(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    commit(store)
    (store.path(STAGE.kind, STAGE.key) / "record.json").write_text("{}")
    commit(store, text="again")
    assert (store.path(STAGE.kind, STAGE.key) / "rows.txt").read_text() == "again"
    assert len(list((tmp_path / "corrupt").iterdir())) == 1


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"of": {"hits": 5, "n": 4}}, "5 hits of 4 answers"),
        ({"off": 1}, "of\n  Field required"),
    ],
)
def test_counts_that_cannot_be_are_never_committed(tmp_path: Path, counts: dict[str, Any], message: str) -> None:
    stage = next(s for s in PLAN.stages.values() if s.kind == "evaluate")
    store = Store(str(tmp_path))
    good = {name: count for name, count in COUNTS.items() if name != "of"}
    with store.scratch() as folder:
        (folder / "rows.txt").touch()
        with pytest.raises(ValueError, match=message):
            store.commit(stage, folder, metrics={**good, **counts}, timings={}, provenance={})
    with store.scratch() as folder, pytest.raises(ValueError, match="files"):
        store.commit(stage, folder, metrics=COUNTS, timings={}, provenance={})
    assert not store.has(stage)


@pytest.mark.parametrize("name", ["stages", "leases", "tmp", "partial"])
def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    for writes in (True, False):
        with pytest.raises(UserError, match=rf"^--store {tmp_path}: {name} is no folder: move it away"):
            Store(str(tmp_path), writes=writes)


def test_a_scratch_folder_that_is_not_committed_is_removed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def fail() -> None:
        with store.scratch() as folder:
            (folder / "x").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list((tmp_path / "tmp").iterdir())


def test_failures_are_kept_until_the_stage_succeeds(store: Store) -> None:
    failure = Failure(
        key=STAGE.key, kind=STAGE.kind, label="x", reason="nan", message="m", final=True, failed=Record.now()
    )
    store.write_failure(failure)
    assert store.failures(PLAN.stages) == {STAGE.key: failure}
    commit(store)
    assert not store.failures(PLAN.stages)


def test_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written") as caught:
        Store(str(tmp_path / "file" / "store"))
    assert "\n" not in str(caught.value)


def _commit_many(url: str) -> None:
    store = Store(url)
    for stage in PLAN.stages.values():
        commit(store, stage)


@pytest.mark.slow
def test_two_processes_commit_the_same_stages(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_commit_many, args=(str(tmp_path),)) for _ in range(2)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
        assert p.exitcode == 0
    store = Store(str(tmp_path))
    assert store.done(PLAN.stages) == set(PLAN.stages)
    for stage in PLAN.stages.values():
        store.path(stage.kind, stage.key)


def test_folders_are_told_with_their_sizes_and_forgotten_whole(store: Store) -> None:
    other = list(PLAN.stages.values())[1]
    commit(store)
    commit(store, other)
    sizes = store.folders()
    name = f"stages/{STAGE.kind}/{STAGE.key[:16]}"
    assert sizes.keys() == {name, f"stages/{other.kind}/{other.key[:16]}"}
    assert all(size > 500 for size in sizes.values())
    store.forget(name)
    store.forget(name)
    assert store.done(PLAN.stages) == {other.key}
    assert name not in store.folders()


def test_checkpoints_of_a_pack(store: Store) -> None:
    checkpoints = Checkpoints(store, "pack")
    assert checkpoints.names() == set()
    for step in "123":
        checkpoints.write(step, lambda path: path.write_text("state"))
    with pytest.raises(ZeroDivisionError):
        checkpoints.write("4", lambda path: path.write_text("half") / 0)
    checkpoints.remove("1", "9")
    assert checkpoints.names() == {"2", "3"}
    assert checkpoints.read("3", Path.read_text) == "state"
    with pytest.raises(DamagedCheckpointError):
        checkpoints.read("1", Path.read_text)
    checkpoints.drop()
    checkpoints.drop()
    assert checkpoints.names() == set()


def test_a_record_that_was_validated_before_reads_the_same(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    record = commit(store, STAGE)
    content = store.record_bytes(STAGE.kind, STAGE.key[:16])
    assert Record.trusted(content) == Record.model_validate_json(content) == record
    with pytest.raises(ValueError, match="format 1"):
        Record.trusted(content.replace(b'"format": 2', b'"format": 1'))
