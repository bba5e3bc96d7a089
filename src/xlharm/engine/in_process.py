"""An executor that runs packs in this process, one after another: for debugging, notebooks and trials of a search."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence

from xlharm.engine.executor import RUNNER, Runner, WorkerReply, load_runner
from xlharm.engine.options import RunOptions, worker_config
from xlharm.engine.trouble import trouble_of
from xlharm.plan.build import Plan
from xlharm.plan.stage import Place
from xlharm.stages.job import PackJob, Progress
from xlharm.store.store import Store

_NAME = "this process"


def in_process(plan: Plan, store: Store, options: RunOptions) -> "InProcess":
    """Return an executor without Ray: `xlharm run --executor in-process`."""
    config = worker_config(plan, store, options, device=options.device, threads=None)
    return InProcess(lambda: load_runner(RUNNER, config))


class InProcess:
    """An ``Executor`` of one worker, a thread of the caller's process.

    Args:
        runner: loads the runner and its base; the thread calls it once, before the first pack.
    """

    def __init__(self, runner: Callable[[], Runner]) -> None:
        self._runner = runner
        self._loaded = False
        self._job: PackJob | None = None
        self._progress: Progress | None = None
        self._jobs: queue.SimpleQueue[PackJob | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[WorkerReply | Exception] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="xlharm-worker", daemon=True)

    def size(self) -> int:
        """Return one when the base is loaded, else zero."""
        return int(self._loaded)

    def expect(self, packs: int) -> None:
        """Do nothing: there is always one worker."""

    def want(self, packs: Mapping[Place, int]) -> None:
        """Do nothing: there is always one worker."""

    def notes(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def held(self) -> float:
        """Return one."""
        return 1.0

    def idle(self, place: Place) -> Sequence[str]:  # noqa: ARG002 - the one worker takes packs of both places
        """Return the worker's name, unless it has a pack."""
        return () if self._job else (_NAME,)

    def rooms(self) -> Mapping[str, float]:
        """Return nothing: with one worker, there is no choice between devices."""
        return {}

    def submit(self, job: PackJob, *, worker: str) -> None:  # noqa: ARG002 - there is only one
        """Hand a pack to the thread."""
        if not self._thread.is_alive():
            self._thread.start()
        self._job = job
        self._jobs.put(job)

    def wait(self, *, timeout: float) -> Sequence[WorkerReply]:
        """Return the thread's reply; wait at most ``timeout`` seconds for it.

        Raises:
            UserError: the base cannot be loaded.
        """
        try:
            reply = self._replies.get(timeout=timeout)
        except queue.Empty:
            return ()
        self._job = None
        if isinstance(reply, Exception):
            raise reply
        return (reply,)

    def progress(self) -> Mapping[str, Progress]:
        """Return the progress of the running pack."""
        progress = self._progress
        return {progress.pack: progress} if progress else {}

    def stop(self) -> None:
        """Ask the running pack to save its state and end."""
        self._stop.set()

    def close(self) -> None:
        """Ask the running pack to end, and the thread after it; the caller keeps the runner."""
        self._stop.set()
        self._jobs.put(None)

    def _work(self) -> None:
        runner: Runner | None = None
        while (job := self._jobs.get()) is not None:
            try:
                runner = runner or self._runner()
                self._loaded = True
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread by wait
                self._replies.put(error)
                continue
            try:
                results = runner.run(job, report=self._report, stopping=self._stop.is_set)
                self._replies.put(WorkerReply(worker=_NAME, pack=job.id, results=results))
            except Exception as error:  # noqa: BLE001 - trouble_of classifies every error for the driver
                self._replies.put(WorkerReply(worker=_NAME, pack=job.id, trouble=trouble_of(error)))
            finally:
                self._progress = None

    def _report(self, progress: Progress) -> None:
        self._progress = progress
