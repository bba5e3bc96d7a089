"""A search's ledger: taken up by its name, by another name after the winner was written back, and what is left."""

import errno
from pathlib import Path

import pytest

from tests.engine.worlds import commit
from tests.plan.test_tuning import PLAN, tuning_of
from tests.store.faulty import FaultyDisk
from xlharm.errors import StoreError, UserError
from xlharm.store import files
from xlharm.store.ledger import load_search
from xlharm.store.store import Store

POINT = {"learning_rate": 1.96e-5, "retain_batch_size": 4}
SEARCH = ("learning_rate=1e-5..1e-3:log", "retain_batch_size=4,8")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_what_was_tried_is_found_again(store: Store) -> None:
    tuning = tuning_of(PLAN, *SEARCH)
    work = load_search(store, tuning, algorithm="random")
    assert work.ledger.tried == []
    work.ledger.find(POINT).reached = 1
    work.ledger.find(POINT).ended = "stopped"
    work.save(store)
    again = load_search(store, tuning, algorithm="random")
    assert again == work
    assert [type(v) for v in again.ledger.tried[0].point.values()] == [float, int]
    assert load_search(store, tuning, algorithm="optuna").ledger.tried == []


def test_after_writing_back_the_same_command_is_the_same_search(store: Store) -> None:
    before, after = tuning_of(), tuning_of(npo={"learning_rate": 3e-4, "steps": 20})  # no words: around the grid's own
    assert (after.space, after.rungs) != (before.space, before.rungs)
    work = load_search(store, before, algorithm="random")
    work.ledger.find({"learning_rate": 3e-4}).ended = "complete"
    work.under(after).save(store)
    taken = load_search(store, after, algorithm="random")
    assert taken.ledger == work.ledger
    assert (taken.tuning.space, taken.tuning.rungs) == (before.space, before.rungs)
    assert taken.tuning.own == {"learning_rate": 3e-4}


def test_what_is_left(store: Store) -> None:
    tuning = tuning_of(PLAN, *SEARCH)
    work = load_search(store, tuning, algorithm="random")
    tried = work.ledger.find(POINT)
    tried.reached, tried.ended = 1, "stopped"
    assert work.left(store, trials=1)  # its stages are gone, whatever the ledger says
    for stage in tuning.plan(tuning.settings(POINT)[0]).stages.values():
        commit(store, stage)
    assert not work.left(store, trials=1)
    assert work.left(store, trials=2)
    tried.reached = 2
    assert work.left(store, trials=1)
    tried.ended = "failed"
    assert not work.left(store, trials=1)


def test_one_that_cannot_be_read_is_not_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RETRIES", (0.0,))
    disk = FaultyDisk(fault=errno.EIO, counted=("read",), times=2)
    store = Store(str(tmp_path), disk=disk)
    load_search(store, tuning_of(), algorithm="random").save(store)
    disk.begin(0)
    with pytest.raises(StoreError, match=r"tune/.*\.json: cannot be read: Input/output error"):
        load_search(store, tuning_of(), algorithm="random")


def test_a_damaged_one_is_not_guessed_at(store: Store) -> None:
    tuning = tuning_of()
    path = store.local / "tune" / f"{tuning.id(algorithm='random')}.json"
    path.parent.mkdir()
    for content in (b'{"tried": 1}', b"", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"\.json: damaged; remove it"):
            load_search(store, tuning, algorithm="random")
