"""What killed processes leave is found and removed; what living ones use stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.store.test_lease import elsewhere
from tests.store.test_store import STAGE, commit
from xlharm.store.checkpoint import Checkpoints
from xlharm.store.lease import STALE_SECONDS, Leases
from xlharm.store.leftovers import PARTIAL_SECONDS, SCRATCH_SECONDS, delete, leftovers, sweep
from xlharm.store.store import Store

KILLED = (
    "import os, sys; from xlharm.store.store import Store; from xlharm.store.lease import Leases\n"
    "store = Store(sys.argv[1])\n"
    "with Leases(store) as leases, store.scratch() as folder:\n"
    "    leases.claim('0' * 64); (folder / 'half').write_text('x'); os.kill(os.getpid(), 9)\n"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    commit(store, STAGE)
    return store


def age(path: Path, seconds: float) -> None:
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - seconds,) * 2)


def test_what_a_killed_driver_leaves_is_swept(store: Store) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, store.url], check=False).returncode == -9
    assert len(leftovers(store)) == 3  # its heartbeat, its lease, its scratch folder
    with Leases(store) as leases, store.scratch() as folder:
        leases.claim(STAGE.key)
        sweep(store)
        assert folder.exists()
        assert set(store.listing("leases")) == {f"leases/{STAGE.key[:16]}", f"leases/driver-{leases._token}"}
        assert [path.name for path in (store.local / "tmp").iterdir()] == [folder.name]
    assert leftovers(store) == []
    assert store.unsound([STAGE]) == {}


def test_a_lease_that_was_taken_over_stays_with_its_predecessors(store: Store) -> None:
    elsewhere(store, "t", name=f"leases/{STAGE.key[:16]}")
    age(store.local / "leases", STALE_SECONDS + 2)
    with Leases(store) as leases:
        assert leases.claim(STAGE.key)
        sweep(store)
        assert len(store.listing("leases")) == 3  # two leases, one heartbeat: that of the dead driver is gone
        with Leases(store) as other:
            assert not other.claim(STAGE.key)


def test_others_scratch_and_old_checkpoints_are_left_over_after_a_while(store: Store) -> None:
    Checkpoints(store, "pack").write("1", lambda path: path.write_text("state"))
    partial, scratch = store.local / "partial" / "pack", store.local / "tmp" / "00000000-1-1-other"
    scratch.mkdir()
    (scratch / "rows").write_text("half")
    assert leftovers(store) == []
    age(scratch, SCRATCH_SECONDS + 9)
    age(partial, PARTIAL_SECONDS + 9)
    assert leftovers(store) == [f"tmp/{scratch.name}", "partial/pack"]
    sweep(store)
    assert (scratch.exists(), partial.exists()) == (False, True)  # the run that sweeps may continue from it
    delete(store, leftovers(store))
    assert leftovers(store) == []
    assert not partial.exists()
