"""A few faults of the campaign that `make faults` strikes hundreds of; and its judge sees what it should."""

import errno
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.campaign import arena, troubles
from tests.faults.campaign.__main__ import Mode, _count, campaign, reference
from tests.faults.campaign.arena import Arena, Drivers, NoArena
from tests.faults.campaign.jobs import cores_of, modes_of
from tests.faults.campaign.passes import Pass, Verdict, _unforeseen, clear, entries, record, recorded
from tests.faults.campaign.places import Folder
from tests.faults.campaign.reckoning import PLANS
from tests.faults.campaign.strikes import kinds
from tests.faults.processes import ROOT, environment
from xlharm.store import files
from xlharm.store.store import Store

PLAN = PLANS["small"]
FEW = Mode(
    name="cluster", weight=1, nodes=2, only=("SIGKILL worker", "SIGSTOP worker", "SIGKILL driver", "EIO", "slow fsync")
)


@pytest.mark.cluster
@pytest.mark.slow
def test_a_few_faults_change_nothing(tmp_path: Path) -> None:
    out = tmp_path / "campaign.jsonl"
    assert campaign(out, count=4, seed=3, limit=300, folder=tmp_path / "campaign", modes=[FEW], plan="small")
    read = recorded(out)
    assert any(entry["type"] == "fault" for entry in read)
    assert [entry["good"] for entry in read if entry["type"] == "pass"]


def passing(folder: Path, *, command: Sequence[str] = (), limit: float = float("inf")) -> Pass:
    """Return a pass of its own store without a cluster."""
    (folder / "orders").mkdir(parents=True)
    here = clear(folder / "pass", orders=folder / "orders")
    return Pass(
        here, place=Folder(here / "store"), plan=PLAN, command=list(command), rng=random.Random(0), most=0,
        arena=NoArena(folder, extra={}), limit=limit,
    )  # fmt: skip


def judged(folder: Path, *, after: object = None) -> Verdict:
    """Return the verdict about a store that was filled without a fault."""
    one = passing(folder)
    whole = reference(PLAN, Path(one.place.url))
    one._look()
    if callable(after):
        after(one)
    one._judge(whole)
    return one.verdict


def test_a_store_without_faults_is_good(tmp_path: Path) -> None:
    assert judged(tmp_path).good


def test_what_was_promised_and_not_kept_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.campaign.passes.LEAK_SECONDS", 0.0)
    key = next(key for key, stage in PLAN.stages.items() if stage.kind == "evaluate")[:16]

    def lose(one: Pass) -> None:
        Store(one.place.url).unfinish("evaluate", key)

    def again(one: Pass) -> None:
        (one.orders / "journal").write_text(f"{key} evaluate 1 {time.time() + 1:.3f}\n")

    def leave(one: Pass) -> None:
        Store(one.place.url).create(f"leases/{key}", "owner")

    def end(one: Pass) -> None:
        one.drivers.lines += ["1: IndexError: list index out of range", "-6: aborted", "-9: killed by the campaign"]

    lost = judged(tmp_path / "a", after=lose)
    assert (lost.good, lost.lost, lost.same_table) == (False, [key], False)
    twice = judged(tmp_path / "b", after=again)
    assert (twice.good, len(twice.twice)) == (False, 1)
    leaked = judged(tmp_path / "c", after=leave)
    assert (leaked.good, leaked.leaked) == (False, [f"leases/{key}"])
    unforeseen = judged(tmp_path / "d", after=end)
    assert (unforeseen.good, len(unforeseen.unforeseen)) == (False, 2)
    by_ray = "1: [2026-12-01 01:34:40,348 E 15047 15203] rpc_client.h:204: Failed to connect to GCS within 60 seconds."
    assert not _unforeseen(by_ray)
    assert _unforeseen("1: /lib/x86_64-linux-gnu/libc.so.6(+0x129ecc) [0x7f491d929ecc]")


def test_files_fail_while_an_order_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(troubles.VARIABLE, str(tmp_path))
    monkeypatch.setattr(files, "RETRIES", ())
    disk = troubles.TroubledDisk("worker")
    order = {"number": 7, "operations": ["write"], "errno": errno.EIO, "seconds": 0.0, "share": 1.0}
    for who, until, fails in (
        ("worker", 60.0, True),
        ("driver", 60.0, False),
        ("all", 60.0, True),
        ("all", -1.0, False),
    ):
        troubles.order(tmp_path, "disk.json", who=who, until=time.monotonic() + until, **order)
        if fails:
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                disk.write(tmp_path / "x", b"")
        else:
            disk.write(tmp_path / "x", b"")
    assert [line.split()[:2] for line in (tmp_path / "hits").read_text().splitlines()] == [["7", "write"]] * 2


def test_a_clock_that_was_set_dates_what_is_written_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(troubles.VARIABLE, str(tmp_path))
    (tmp_path / "x").touch()
    disk, real = troubles.TroubledDisk("worker"), (tmp_path / "x").stat().st_mtime
    troubles.order(tmp_path, "clock.json", number=1, offset=-3600.0, since=real - 1)
    assert disk.stat(tmp_path / "x").st_mtime == pytest.approx(real - 3600, abs=1)
    troubles.order(tmp_path, "clock.json", number=1, offset=-3600.0, since=real + 1)
    assert disk.stat(tmp_path / "x").st_mtime == real


def test_a_driver_is_started_again_until_it_ends_well(tmp_path: Path) -> None:
    script = f"test -e {tmp_path}/once || {{ touch {tmp_path}/once; echo no; exit 1; }}"
    drivers = Drivers(["bash", "-c", script], env={}, log=tmp_path / "log")
    codes = []
    while 0 not in codes:
        codes.append(drivers.ensure(may_start=True))
        time.sleep(0.01)
    assert [code for code in codes if code is not None] == [1, 0]
    assert drivers.lines == ["1: no"]


def test_a_cluster_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "_environment", lambda: {"PYTHONPATH": str(tmp_path)})  # where Ray is not
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    with pytest.raises(RuntimeError, match=r"3 nodes ended while they started, the last with \d+: .+"):
        Arena(tmp_path, nodes=2, extra={}).__enter__()


def test_processes_of_a_test_import_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/site", str(ROOT), ""]))
    assert environment()["PYTHONPATH"].split(os.pathsep) == [str(ROOT / "src"), str(ROOT), "/site"]


def test_a_pass_is_given_up_at_the_limit(tmp_path: Path) -> None:
    one = passing(tmp_path, command=["sleep", "60"], limit=time.monotonic() + 0.1)
    verdict = one.run([])
    assert (verdict.unfinished, verdict.stuck, one.faults) == (True, False, [])
    assert [entry["type"] for entry in entries(one.faults, verdict)] == ["unfinished"]


def test_campaigns_beside_each_other_share_a_file(tmp_path: Path) -> None:
    for seed in (1, 2):
        record(tmp_path / "out", {"type": "pass", "seed": seed}, {"type": "fault", "seed": seed})
    assert _count(tmp_path / "out", "fault") == 2
    assert _count(tmp_path / "out", "pass", "unfinished", seed=2) == 1
    modes = modes_of(5, names=["a", "b", "c"], weights=[9, 1, 1], seed=3)
    assert modes[:3] == ["a", "b", "c"]
    assert len(modes) == 5
    assert modes_of(1, names=["a", "b"], weights=[1, 1], seed=3) == ["a"]
    assert [cores_of(job, [4, 5, 6]) for job in range(3)] == [{4, 5}, {6, 4}, {5, 6}]


def test_kinds_can_be_chosen() -> None:
    assert set(kinds(only=("SIGKILL worker",))) == {"SIGKILL worker"}
    assert len(kinds()) > 30
