"""The driver with scripted workers: every kind of trouble, leases, interruptions, the store as the truth."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.engine.worlds import PLAN, FakeExecutor, commit, run
from tests.faults.processes import environment, until
from tests.s3 import S3
from xlharm.engine import driver as driver_module
from xlharm.engine import policy
from xlharm.engine.executor import Executor
from xlharm.engine.memory import MemoryNeeds
from xlharm.engine.options import RunOptions
from xlharm.engine.progress import Snapshot
from xlharm.engine.run import run_grid
from xlharm.engine.scheduler import Graph, State
from xlharm.engine.trouble import EngineError, Trouble, TroubleKind, trouble_of
from xlharm.errors import BaseRefusedError, UserError
from xlharm.plan.packs import packs
from xlharm.plan.stage import Place
from xlharm.stages.job import PackJob, StageResult
from xlharm.store.checkpoint import Checkpoints
from xlharm.store.lease import Leases
from xlharm.store.process import machine
from xlharm.store.store import Store

TOTAL = len(PLAN.stages)
KEYS = {
    kind: [k for k, s in PLAN.stages.items() if s.kind == kind]
    for kind in ("contaminate", "sft", "unlearn", "evaluate")
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(driver_module, "_VISIBLE_SECONDS", 0.2)
    monkeypatch.setattr(policy, "IO_DELAY", 0.01)
    monkeypatch.setattr(policy, "MEMORY_DELAY", 0.01)


def active(job: PackJob) -> list[str]:
    return [s.key for s, on in zip(job.stages, job.active, strict=True) if on]


def test_all_of_it_once_and_then_nothing(store: Store) -> None:
    executor = FakeExecutor(store)
    snapshots: list[Snapshot] = []
    outcome = run(store, executor, snapshots=snapshots)
    assert (outcome.ran, outcome.done, outcome.total, outcome.exit_code) == (TOTAL, TOTAL, TOTAL, 0)
    assert Counter(executor.computed) == Counter(list(PLAN.stages))
    assert {tuple(s.key for s in j.stages) for j in executor.submitted} == {p.keys for p in packs(PLAN, size=3)}
    assert executor.closed == 1
    assert not list((store.local / "leases").iterdir())
    assert (snapshots[-1].done, snapshots[-1].left, snapshots[-1].packs_left) == (TOTAL, 0, 0)

    again = FakeExecutor(store)
    outcome = run(store, again)
    assert (outcome.ran, outcome.done, outcome.exit_code) == (0, TOTAL, 0)
    assert not again.submitted
    assert again.closed == 0  # nothing was started


def test_packs_are_cut_for_declared_workers(store: Store) -> None:
    executor = FakeExecutor(store, workers=3)
    assert run(store, executor, pack=3, spread=3).exit_code == 0
    sizes = {(j.kind, len(j.stages)) for j in executor.submitted}
    assert {s for k, s in sizes if k in {"contaminate", "sft"}} == {1}  # one of three for each of three workers
    assert Counter(executor.computed) == Counter(list(PLAN.stages))


@pytest.mark.slow
def test_a_finished_grid_needs_neither_ray_nor_torch(store: Store) -> None:
    run(store, FakeExecutor(store))
    code = f"""
import sys
from tests.engine.worlds import PLAN
from xlharm.engine.options import RunOptions
from xlharm.engine.ray import on_ray
from xlharm.engine.run import run_grid
from xlharm.store.store import Store
outcome = run_grid(PLAN, Store({store.url!r}), RunOptions(pack=3), on_progress=lambda s: None, start_executor=on_ray)
assert outcome.exit_code == 0 and outcome.ran == 0
assert not {{"ray", "torch", "transformers"}} & set(sys.modules), "heavy imports"
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=60)


def test_a_pack_partly_done_runs_in_its_full_shape_with_finished_slots_empty(store: Store) -> None:
    for key in KEYS["contaminate"][:2]:
        commit(store, PLAN.stages[key])
    executor = FakeExecutor(store)
    run(store, executor)
    first = executor.submitted[0]
    assert [s.key for s in first.stages] == KEYS["contaminate"]
    assert first.active == (False, False, True)


def save(store: Store, pack: str, form: str) -> None:
    Checkpoints(store, pack, form=form).write("00000001-rank0", lambda path: path.write_text("state"))


def test_no_checkpoint_outlives_its_pack(store: Store) -> None:
    troubles: dict[str, Trouble] = {
        "contaminate": Trouble(kind="out_of_memory", message="too large"),  # it is split
        "sft": Trouble(kind="crashed", message="killed after the last commit", lost=True),
    }

    def script(job: PackJob) -> Trouble | None:
        save(store, job.id, "111-1x0")  # FakeExecutor never drops them
        trouble = troubles.pop(job.kind, None)
        if trouble is not None and trouble.kind == "crashed":
            executor.compute(job)
        return trouble

    executor = FakeExecutor(store, script)
    assert run(store, executor).exit_code == 0
    assert not list((store.local / "partial").iterdir())
    save(store, executor.submitted[-1].id, "111-1x0")  # of a driver that was killed, too
    save(store, "0123456789abcdef", "111-1x0")  # of another grid
    assert run(store, FakeExecutor(store)).exit_code == 0
    assert [path.name for path in (store.local / "partial").iterdir()] == ["0123456789abcdef-111-1x0"]


def leave(store: Store) -> None:
    """Leave what a killed driver leaves: its heartbeat and a lease."""
    owner = {"machine": machine(), "pid": os.getpid(), "start": "a process that has ended", "token": "abc"}
    for name in ("leases/driver-abc", f"leases/{KEYS['sft'][0][:16]}"):
        store.create(name, json.dumps(owner))


def test_a_run_with_nothing_to_do_clears_away_what_a_killed_driver_left(store: Store) -> None:
    assert run(store, FakeExecutor(store)).exit_code == 0
    leave(store)
    outcome = run(store, FakeExecutor(store))
    assert (outcome.ran, outcome.exit_code) == (0, 0)
    assert not list((store.local / "leases").iterdir())


def test_a_run_clears_away_in_a_bucket_what_killed_processes_left(s3: S3) -> None:
    store = Store("s3://bucket/store")
    executor = FakeExecutor(store)
    assert run(store, executor).exit_code == 0
    leave(store)
    save(store, executor.submitted[-1].id, "111-1x0")
    assert run(store, FakeExecutor(store)).ran == 0
    assert {name.split("/")[1] for name in s3.objects} == {"stages", ".writable"}


@pytest.mark.parametrize("kind", ["crashed", "preempted", "node_died", "memory_taken", "io"])
def test_passing_trouble_costs_nothing_but_time(store: Store, kind: TroubleKind) -> None:
    troubled: set[str] = set()

    def script(job: PackJob) -> Trouble | None:
        if job.id in troubled:
            return None
        troubled.add(job.id)
        return Trouble(kind=kind, message="passing")

    executor = FakeExecutor(store, script)
    outcome = run(store, executor)
    assert (outcome.done, outcome.exit_code) == (TOTAL, 0)
    assert max(Counter(executor.computed).values()) == 1


def test_what_a_lost_worker_had_committed_is_not_computed_again(store: Store) -> None:
    crashed: list[str] = []

    def script(job: PackJob) -> Trouble | None:
        if crashed or len(active(job)) < 3:
            return None
        executor.compute(job, only=2)
        crashed.extend(active(job))
        return Trouble(kind="crashed", message="killed between two commits")

    executor = FakeExecutor(store, script)
    outcome = run(store, executor)
    assert outcome.done == TOTAL
    assert max(Counter(executor.computed).values()) == 1
    again = next(j for j in executor.submitted[1:] if crashed[0] in [s.key for s in j.stages])
    assert active(again) == [crashed[2]]
    assert len(again.stages) == 3


def test_a_pack_that_keeps_crashing_is_made_smaller_and_then_given_up(store: Store) -> None:
    culprit = KEYS["unlearn"][1]
    tries = Counter[str]()

    def script(job: PackJob) -> Trouble | None:
        if culprit not in active(job):
            return None
        tries[job.id] += 1
        return Trouble(kind="crashed", message="the worker process died")

    outcome = run(store, FakeExecutor(store, script))
    assert outcome.exit_code == 1
    assert {f.key: (f.reason, f.final) for f in outcome.failures.values()} == {culprit: ("crashed", False)}
    children = [k for k, s in PLAN.stages.items() if culprit in s.inputs]
    assert outcome.dead == 1 + len(children)
    assert outcome.done == TOTAL - outcome.dead
    assert max(tries.values()) == 3
    assert sum(tries.values()) <= 8

    outcome = run(store, FakeExecutor(store))  # not final: the next run tries again
    assert (outcome.exit_code, outcome.ran) == (0, 1 + len(children))


def test_out_of_memory_halves_the_pack(store: Store) -> None:
    def script(job: PackJob) -> Trouble | None:
        return Trouble(kind="out_of_memory", message="too large") if len(job.stages) > 1 else None

    executor = FakeExecutor(store, script)
    outcome = run(store, executor, pack=4)
    assert outcome.exit_code == 0
    assert max(Counter(executor.computed).values()) == 1

    never = FakeExecutor(Store(store.url + "2"), lambda job: Trouble(kind="out_of_memory", message="too large"))
    outcome = run(never.store, never)
    assert {f.reason for f in outcome.failures.values()} == {"out_of_memory"}
    assert outcome.exit_code == 1


def test_a_slot_without_a_valid_result_is_final_and_the_rest_goes_on(store: Store) -> None:
    culprit = KEYS["sft"][0]

    def script(job: PackJob) -> list[StageResult] | None:
        if culprit not in active(job):
            return None
        bad = StageResult(key=culprit, ok=False, reason="nan", message="the loss is not a number from step 3 on")
        good = [r for r in executor.compute(without(job, culprit)) if r.key != culprit]
        return [bad, *good]

    executor = FakeExecutor(store, script)
    outcome = run(store, executor)
    assert outcome.exit_code == 1
    assert [(f.reason, f.final) for f in outcome.failures.values()] == [("nan", True)]
    assert outcome.done + outcome.dead == TOTAL

    again = FakeExecutor(store)
    assert run(store, again).exit_code == 1
    assert not again.submitted  # the same input would fail again

    retried = FakeExecutor(store)
    assert run(store, retried, retry_failed=True).exit_code == 0
    assert retried.computed[0] == culprit


def without(job: PackJob, key: str) -> PackJob:
    return PackJob(
        id=job.id, kind=job.kind, stages=job.stages,
        active=tuple(on and s.key != key for s, on in zip(job.stages, job.active, strict=True)),
    )  # fmt: skip


def test_a_bug_in_one_stage_costs_only_its_subtree(store: Store) -> None:
    culprit = KEYS["contaminate"][1]

    def script(job: PackJob) -> Trouble | None:
        return Trouble(kind="error", message="IndexError: list index", detail="…") if culprit in active(job) else None

    outcome = run(store, FakeExecutor(store, script))
    assert {f.key: f.reason for f in outcome.failures.values()} == {culprit: "error"}
    (failure,) = outcome.failures.values()
    message, _, name = failure.message.removesuffix(" in the store").partition("; log: ")
    assert (message, store.read_text(name)) == ("IndexError: list index", "…")
    affected = {k for c in PLAN.cells if culprit in c.lineage for k in (*c.lineage, *c.evaluations.values())}
    assert outcome.done == TOTAL - len(affected)
    assert outcome.exit_code == 1
    assert any((store.local / "logs").iterdir())


def damage(store: Store, key: str) -> None:
    """Change a stage's result."""
    (store.local / "stages" / PLAN.stages[key].kind / key[:16] / "result.txt").write_text("rot")


def test_damage_that_only_a_worker_saw_is_not_set_aside(store: Store) -> None:
    seen: list[str] = []

    def script(job: PackJob) -> Trouble | None:
        if seen or job.kind != "unlearn":
            return None
        seen.append(PLAN.stages[active(job)[0]].inputs[0])
        return Trouble(kind="corrupt", message="does not match its checksum", key=seen[0])

    executor = FakeExecutor(store, script)
    assert run(store, executor).exit_code == 0
    assert executor.computed.count(seen[0]) == 1
    assert not (store.local / "corrupt").exists()


def test_a_damaged_parent_is_computed_again(store: Store) -> None:
    damaged: list[str] = []

    def script(job: PackJob) -> Trouble | None:
        if damaged or job.kind != "unlearn":
            return None
        parent = PLAN.stages[active(job)[0]].inputs[0]
        damaged.append(parent)
        damage(store, parent)
        return Trouble(kind="corrupt", message="does not match its checksum", key=parent)

    executor = FakeExecutor(store, script)
    outcome = run(store, executor)
    assert outcome.exit_code == 0
    assert executor.computed.count(damaged[0]) == 2
    assert len(list((store.local / "corrupt").iterdir())) == 1


def test_a_disk_that_damages_everything_ends_in_a_failure_not_in_a_loop(store: Store) -> None:
    def script(job: PackJob) -> Trouble | None:
        if job.kind != "sft":
            return None
        parent = PLAN.stages[active(job)[0]].inputs[0]
        damage(store, parent)
        return Trouble(kind="corrupt", message="does not match its checksum", key=parent)

    outcome = run(store, FakeExecutor(store, script))
    assert outcome.exit_code == 1
    assert {f.reason for f in outcome.failures.values()} == {"io"}


def test_damage_is_found_when_a_run_begins(store: Store) -> None:
    run(store, FakeExecutor(store))
    hurt = KEYS["sft"][0]
    (store.local / "stages" / "sft" / hurt[:16] / "result.txt").write_text("rot")
    torn = KEYS["evaluate"][0]
    (store.local / "stages" / "evaluate" / torn[:16] / "record.json").write_text("{")
    executor = FakeExecutor(store)
    outcome = run(store, executor)
    assert sorted(executor.computed) == sorted([hurt, torn])
    assert outcome.exit_code == 0


def test_a_full_disk_stops_with_one_line_and_loses_nothing(store: Store) -> None:
    def script(job: PackJob) -> Trouble | None:
        return Trouble(kind="disk_full", message="No space left on device") if job.kind == "unlearn" else None

    executor = FakeExecutor(store, script)
    with pytest.raises(UserError, match=r"--store .*No space left on device; make room"):
        run(store, executor)
    assert executor.closed == 1
    assert run(store, FakeExecutor(store)).exit_code == 0


def test_a_base_that_is_refused_ends_the_run_with_one_line_and_without_another_attempt(store: Store) -> None:
    jobs: list[PackJob] = []
    snapshots: list[Snapshot] = []

    def script(job: PackJob) -> Trouble:
        jobs.append(job)
        return trouble_of(BaseRefusedError("base: Odd mixes tokens outside of its attention"))

    with pytest.raises(UserError, match=r"^base: Odd mixes tokens outside of its attention$"):
        run(store, FakeExecutor(store, script), snapshots=snapshots)
    assert len(jobs) == 1
    assert not any("Odd" in note for s in snapshots for note in s.notes)


def test_a_store_that_machines_do_not_share_is_told(store: Store, tmp_path: Path) -> None:
    elsewhere = FakeExecutor(Store(str(tmp_path / "other")))
    with pytest.raises(UserError, match="all machines share"):
        run(store, elsewhere)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("user", UserError, "no such base"),
        ("base", UserError, "^no such base$"),
        ("out_of_memory", UserError, "--zero 3"),
        ("error", EngineError, "3 workers in a row"),
    ],
)
def test_workers_that_do_not_start(store: Store, kind: TroubleKind, error: type[Exception], message: str) -> None:
    class Broken(FakeExecutor):
        def idle(self, place: Place) -> list[str]:
            return []

        def wait(self, *, timeout: float):
            return [
                driver_module.WorkerReply(
                    worker="w0", pack=None, trouble=Trouble(kind=kind, message="no such base"), lost=True
                )
            ]

    with pytest.raises(error, match=message):
        run(store, Broken(store))


def test_a_worker_larger_than_its_machine_is_told_without_advice_for_gpus(store: Store) -> None:
    class TooLarge(FakeExecutor):
        def size(self) -> int:
            return 0

        def wait(self, *, timeout: float):
            trouble = Trouble(kind="out_of_memory", message="it used 20.1 of 23.5 GB", lost=True)
            return [driver_module.WorkerReply(worker="w0", pack=None, trouble=trouble, lost=True)]

    with pytest.raises(UserError, match="machines with more memory") as raised:
        run(store, TooLarge(store))
    assert "--zero" not in str(raised.value)


def test_workers_that_a_full_machine_ends_are_started_again(store: Store) -> None:
    class Full(FakeExecutor):
        evicted = 0

        def idle(self, place: Place) -> list[str]:
            return super().idle(place) if self.evicted > 5 else []

        def wait(self, *, timeout: float):
            if self.evicted > 5:
                return super().wait(timeout=timeout)
            self.evicted += 1
            trouble = Trouble(kind="memory_taken", message="other processes fill the machine's memory", lost=True)
            return [driver_module.WorkerReply(worker="w0", pack=None, trouble=trouble, lost=True)]

    snapshots: list[Snapshot] = []
    assert run(store, Full(store), snapshots=snapshots).exit_code == 0
    assert any("other processes fill" in note for s in snapshots for note in s.notes)


def test_another_driver_s_stages_are_waited_for_not_computed(store: Store) -> None:
    theirs = KEYS["contaminate"]
    other = Leases(store)
    finish = threading.Event()
    snapshots: list[Snapshot] = []

    def elsewhere() -> None:
        with other:
            assert all(other.claim(k) for k in theirs)
            finish.set()
            until(lambda: any("another driver" in n for s in snapshots for n in s.notes))
            for key in theirs:
                commit(store, PLAN.stages[key])

    thread = threading.Thread(target=elsewhere)
    thread.start()
    finish.wait()
    executor = FakeExecutor(store)
    outcome = run(store, executor, snapshots=snapshots)
    thread.join()
    assert outcome.exit_code == 0
    assert not set(theirs) & set(executor.computed)
    assert outcome.ran == TOTAL - len(theirs)
    assert sum("another driver" in n for s in snapshots for n in s.notes) == 1


def test_two_drivers_at_once_do_each_stage_once(store: Store) -> None:
    def slow(job: PackJob) -> None:
        time.sleep(0.02)

    executors = [FakeExecutor(Store(store.url), slow) for _ in range(2)]
    outcomes = {}

    def one(i: int) -> None:
        outcomes[i] = run(Store(store.url), executors[i], pack=3)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [o.exit_code for o in outcomes.values()] == [0, 0]
    assert Counter(executors[0].computed + executors[1].computed) == Counter(list(PLAN.stages))
    assert sum(o.ran for o in outcomes.values()) == TOTAL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_the_same_command_goes_on(store: Store, number: signal.Signals) -> None:
    def script(job: PackJob) -> None:
        if job.kind == "sft":
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    executor = FakeExecutor(store, script)
    outcome = run(store, executor)
    assert (outcome.interrupted, outcome.exit_code) == (True, 130)
    assert 0 < outcome.done < TOTAL
    assert not executor.jobs
    assert executor.closed == 1
    assert signal.getsignal(number) is before
    assert not list((store.local / "leases").iterdir())
    rest = FakeExecutor(store)
    assert run(store, rest).exit_code == 0
    assert len(rest.computed) == TOTAL - outcome.done


def test_sigterm_while_ray_starts_is_an_interruption(store: Store) -> None:
    def start(*_: object) -> Executor:  # Ray replaces the handler by one that does this
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal came too late")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run_grid(PLAN, store, RunOptions(pack=3), on_progress=lambda _: None, start_executor=start)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not list((store.local / "leases").iterdir())


def test_what_runs_when_a_run_is_stopped_may_save_its_state(store: Store) -> None:
    def script(job: PackJob) -> Trouble | None:
        if job.id in executor.stopped:
            return Trouble(kind="stopped", message="stopped after step 2 of 6")
        os.kill(os.getpid(), signal.SIGTERM)
        return None

    executor = FakeExecutor(store, script)
    snapshots: list[Snapshot] = []
    outcome = run(store, executor, pack=1, snapshots=snapshots)
    assert (outcome.ran, outcome.interrupted, len(executor.submitted)) == (1, True, 2)
    assert not executor.jobs  # the other one was waited for
    assert any("stopped after step 2 of 6" in n for s in snapshots for n in s.notes)
    assert not store.failures(PLAN.stages)
    assert not list((store.local / "leases").iterdir())
    assert run(store, FakeExecutor(store), pack=1).exit_code == 0


def test_before_a_deadline_nothing_begins_that_could_not_end_in_time(store: Store) -> None:
    commit(store, PLAN.stages[KEYS["evaluate"][0]], seconds=2000.0)
    executor = FakeExecutor(store)
    outcome = run(store, executor, pack=3, deadline=time.time() + 1900)
    assert set(executor.computed) == {k for k, s in PLAN.stages.items() if s.kind != "evaluate"}
    assert (outcome.limit, outcome.interrupted, outcome.exit_code) == ("--deadline", False, 1)
    assert outcome.seconds_left == pytest.approx(2000.0 * (TOTAL - outcome.done), rel=0.1)  # questions differ in length
    assert not list((store.local / "leases").iterdir())
    assert run(store, FakeExecutor(store), pack=3).exit_code == 0


def test_when_the_hours_are_used_up_what_runs_may_save_its_state(store: Store) -> None:
    executor = FakeExecutor(
        store, lambda job: Trouble(kind="stopped", message="") if job.id in executor.stopped else None
    )
    outcome = run(store, executor, pack=1, max_hours=1e-9)
    assert executor.expected is None  # workers that wait for later stages would use the hours up
    assert (outcome.limit, outcome.exit_code) == ("--max-gpu-hours", 1)
    assert executor.stopped
    assert not executor.jobs
    assert run(store, FakeExecutor(store), pack=1).exit_code == 0


def test_a_failing_start_leaves_no_lease(store: Store) -> None:
    def start(*_: object) -> FakeExecutor:
        raise UserError("no cluster")

    from xlharm.engine.options import RunOptions
    from xlharm.engine.run import run_grid

    with pytest.raises(UserError):
        run_grid(PLAN, store, RunOptions(pack=1), on_progress=lambda s: None, start_executor=start)
    assert not list((store.local / "leases").iterdir())


def _memory_world(store: Store, *, rooms: dict[str, float]) -> tuple[FakeExecutor, list[tuple[str, str, int]]]:
    """Workers whose devices have so much memory, in units of one slot; larger packs do not fit."""
    given: list[tuple[str, str, int]] = []

    class Devices(FakeExecutor):
        def submit(self, job: PackJob, *, worker: str) -> None:
            super().submit(job, worker=worker)
            given.append((worker, job.kind, len(job.stages)))

        def wait(self, *, timeout: float):
            where = {job.id: worker for worker, job in self.jobs.items()}
            self.script = lambda job: (
                Trouble(kind="out_of_memory", message="too large")
                if len(job.stages) > self.memory.get(where[job.id], math.inf)
                else None
            )
            return super().wait(timeout=timeout)

    executor = Devices(store)
    executor.memory = rooms
    return executor, given


def test_a_pack_that_outgrows_a_small_device_goes_to_a_larger_one_unsplit(store: Store) -> None:
    executor, given = _memory_world(store, rooms={"w0": 1.0, "w1": 8.0})
    assert run(store, executor, pack=3).exit_code == 0
    assert {tuple(s.key for s in j.stages) for j in executor.submitted} == {p.keys for p in packs(PLAN, size=3)}
    tried = [(kind, slots) for worker, kind, slots in given if worker == "w0" and slots > 1]
    assert len(tried) == len(set(tried))  # what did not fit once is not tried there again


def test_the_largest_device_is_not_too_small_for_ever(store: Store) -> None:
    executor, _ = _memory_world(store, rooms={"w0": 1.0, "w1": 2.0})
    assert run(store, executor, pack=3).exit_code == 0
    assert Counter(executor.computed) == Counter(list(PLAN.stages))
    assert max(len(j.stages) for j in executor.submitted) == 3  # tried whole, then in halves


def test_what_is_known_to_be_too_large_waits_while_a_device_is_starting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryNeeds, "bytes_needed", lambda self, pack: len(pack.keys))
    executor, given = _memory_world(store, rooms={"w0": 1.0, "w1": math.inf})
    assert run(store, executor, pack=3).exit_code == 0
    assert all(slots == 1 for worker, _, slots in given if worker == "w0")


def test_a_device_too_small_for_the_base_is_done_without(store: Store) -> None:
    class Small(FakeExecutor):
        reported = False

        def wait(self, *, timeout: float):
            if not self.reported:
                self.reported = True
                trouble = Trouble(kind="out_of_memory", message="no room")
                return [driver_module.WorkerReply(worker="w9", pack=None, trouble=trouble, lost=True)]
            return super().wait(timeout=timeout)

    executor, snapshots = Small(store), []
    executor.memory = {"w0": 8.0}
    assert run(store, executor, snapshots=snapshots).exit_code == 0
    assert sum("too small for the base" in n for s in snapshots for n in s.notes) == 1


def test_how_many_packs_will_run_side_by_side_is_told_before_the_first(store: Store) -> None:
    executor = FakeExecutor(store)
    assert run(store, executor, pack=1).done == len(PLAN.stages)
    assert executor.expected == State(Graph.of(PLAN), packs(PLAN, size=1)).width() > 1
