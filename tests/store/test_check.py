"""Everything in a store is read; what is damaged is named, and set aside on request."""

import errno
import shutil
from pathlib import Path

import pytest

from tests.store.faulty import FaultyDisk
from tests.store.test_disk import FAILURE
from tests.store.test_store import PLAN, STAGE, commit
from xlharm.store import files
from xlharm.store.check import check
from xlharm.store.checkpoint import Checkpoints
from xlharm.store.store import Store

OTHER = list(PLAN.stages.values())[1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    for stage in (STAGE, OTHER):
        commit(store, stage)
    Checkpoints(store, "pack").write("1", lambda path: path.write_text("state"))
    store.write_failure(FAILURE)
    return store


def folder_of(store: Store) -> Path:
    return store.local / "stages" / STAGE.kind / STAGE.key[:16]


def test_a_sound_store(store: Store) -> None:
    checked = check(store, repair=True)
    assert (checked.stages, checked.size, checked.checkpoints, checked.flaws) == (2, 2 * len("result"), 1, [])


@pytest.mark.parametrize("damage", ["rows", "record", "seal", "half", "file", "older", "checkpoint", "failure"])
def test_damage_is_named_and_repaired(store: Store, damage: str) -> None:
    folder, name = folder_of(store), f"stages/{STAGE.kind}/{STAGE.key[:16]}"
    match damage:
        case "rows":
            (folder / "rows.txt").write_text("resulT")
        case "record":
            (folder / "record.json").write_text("{")
        case "seal":
            (folder / "_SUCCESS").write_text("xlharm stage 2 0\n")
        case "half":
            (folder / "_SUCCESS").unlink()
        case "file":
            shutil.rmtree(folder)
            folder.touch()
        case "older":
            (folder / "_SUCCESS").write_text("")
            (folder / "record.json").write_text("{}")
        case "checkpoint":
            name = "partial/pack/1"
            next((store.local / "partial" / "pack").iterdir()).write_text("statE")
        case "failure":
            name = f"failures/{FAILURE.key[:16]}.json"
            (store.local / name).write_text("{")
    again = Store(store.url)
    (flaw,) = check(again, repair=False).flaws
    assert (flaw.name, flaw.repaired) == (name, "")
    assert name in str(flaw)
    assert "\n" not in str(flaw)
    (repaired,) = check(again, repair=True).flaws
    assert repaired.repaired
    assert check(again, repair=False).flaws == []
    commit(again, STAGE)
    assert check(again, repair=False).stages == 2


def test_what_cannot_be_read_is_named_and_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RETRIES", (0.0,))
    disk = FaultyDisk(fault=errno.EIO, counted=("digest",), times=2)
    failing = Store(store.url, disk=disk)
    disk.begin(0)
    (flaw,) = check(failing, repair=True).flaws
    assert "cannot be read: Input/output error" in str(flaw)
    assert flaw.repaired == ""
    assert check(store, repair=False).flaws == []


def test_a_search_that_cannot_be_understood_is_left_to_its_user(store: Store) -> None:
    store.write_text("tune/search.json", "{")
    (flaw,) = check(store, repair=True).flaws
    assert (flaw.name, flaw.repaired) == ("tune/search.json", "")


def test_a_store_in_a_bucket(s3: object) -> None:
    store = Store("s3://bucket/store")
    for stage in (STAGE, OTHER):
        commit(store, stage)
    store.path(STAGE.kind, STAGE.key)  # a sound copy is in the cache
    store.write_text(f"stages/{STAGE.kind}/{STAGE.key[:16]}/rows.txt", "resulT")
    (flaw,) = check(store, repair=True).flaws
    assert flaw.name == f"stages/{STAGE.kind}/{STAGE.key[:16]}"
    assert store.done(PLAN.stages) == {OTHER.key}
    assert check(store, repair=False).flaws == []
