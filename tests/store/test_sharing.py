"""A store that several users of a group share, and one that can only be read. Needs root, to become other users."""

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.worlds import PLAN, FakeExecutor, run
from tests.store.test_store import commit
from xlharm.api import Grid
from xlharm.errors import UserError
from xlharm.store import disk
from xlharm.store.checkpoint import Checkpoints
from xlharm.store.lease import Leases
from xlharm.store.leftovers import sweep
from xlharm.store.record import Failure
from xlharm.store.store import Store

FIRST, OTHER = list(PLAN.stages.values())[:2]
ANN, BEN, GROUP = 60_001, 60_002, 60_100
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),  # the children start no threads of others
]


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that everybody may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def as_user(user: int, work: Callable[[], object], *, umask: int) -> None:
    """Do something in a child process of another user."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([GROUP])
            os.setgid(GROUP)
            os.setuid(user)
            os.umask(umask)
            disk._umask.cache_clear()
            work()
        except BaseException:  # noqa: BLE001 - the parent sees the exit code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fill(url: str) -> None:
    """Leave a stage with a private file, a checkpoint, a failure, and a lease of a process that ends."""
    store = Store(url)
    with store.scratch() as folder:
        (folder / "rows.txt").write_text("result")
        (folder / "rows.txt").chmod(0o600)  # as safetensors does
        store.commit(FIRST, folder, metrics={}, timings={}, provenance={})
    Checkpoints(store, "pack").write("1", lambda path: path.write_text("state"))
    failure = Failure(key=OTHER.key, kind=OTHER.kind, label="x", reason="nan", message="m", final=True, failed="now")
    store.write_failure(failure)
    leases = Leases(store)
    leases.__enter__()
    assert leases.claim(OTHER.key)


def go_on(url: str) -> None:
    """Do in somebody else's store everything that a run does."""
    store = Store(url)
    assert (store.path(FIRST.kind, FIRST.key) / "rows.txt").read_text() == "result"
    with Leases(store) as leases:
        assert leases.claim(OTHER.key)
        sweep(store)
        assert Checkpoints(store, "pack").read("1", Path.read_text) == "state"
        Checkpoints(store, "pack").write("2", lambda path: path.write_text("state"))
        commit(store, OTHER)
        Checkpoints(store, "pack").drop()
        assert store.failures(PLAN.stages) == {}
    store.write_text(f"stages/{FIRST.kind}/{FIRST.key[:16]}/rows.txt", "rot")
    assert store.quarantine(FIRST.kind, FIRST.key)
    commit(store, FIRST)
    assert store.unsound([FIRST, OTHER]) == {}
    assert not list((store.local / "partial").iterdir())


def test_a_group_shares_a_store_as_the_umask_says(place: Path) -> None:
    url = str(place / "store")
    as_user(ANN, lambda: fill(url), umask=0o002)
    as_user(BEN, lambda: go_on(url), umask=0o002)
    modes = {p.stat().st_mode & 0o777 for p in place.glob("store/**/*") if p.is_file()}
    assert modes == {0o664}
    assert {p.stat().st_mode & 0o777 for p in place.glob("store/**/*") if p.is_dir()} == {0o775}


def test_a_store_for_its_user_alone_can_be_read_and_says_why_it_cannot_be_written(place: Path) -> None:
    url = str(place / "store")
    as_user(ANN, lambda: fill(url), umask=0o022)

    def look() -> None:
        store = Store(url, writes=False)
        assert store.unsound([FIRST]) == {}
        with pytest.raises(UserError, match=r"^--store .*/store: cannot be written: .*Permission denied") as caught:
            Store(url)
        assert "\n" not in str(caught.value)

    as_user(BEN, look, umask=0o022)


def test_a_finished_store_that_cannot_be_written_has_nothing_to_do(place: Path) -> None:
    url = str(place / "store")
    store = Store(url)
    assert run(store, FakeExecutor(store)).exit_code == 0
    for path in (store.local, *store.local.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in store.local.rglob("*")}

    def again() -> None:
        grid = Grid(PLAN, Store(url, writes=False))
        assert grid.status().finished
        outcome = grid.run(executor="in-process")
        assert (outcome.ran, outcome.exit_code, outcome.done) == (0, 0, len(PLAN.stages))

    as_user(BEN, again, umask=0o022)
    assert {path: path.stat().st_mtime_ns for path in store.local.rglob("*")} == before
