"""Notices that a cluster has ended or that workers do not answer, and says so in one line each."""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ray.exceptions import RayError

from xlharm.engine.trouble import EngineError, one_line

logger = logging.getLogger(__name__)

CHECK_SECONDS = 5.0  # between two looks at the cluster
HEAD_SECONDS = 45.0  # a head that is silent for so long ends the run; Ray itself ends the process after 60
RESTARTS = 5  # restarts of our own cluster without a pack that ended in between
SILENT_SECONDS = 30.0  # a worker that does not answer for so long is reported
LONGEST_SILENCE = 600.0  # and after so long it is ended, and its pack runs elsewhere
SLOW_START = 300.0  # a worker that is still loading the base after so long is reported


class Cluster(Protocol):
    """What is looked at of a cluster."""

    @property
    def local(self) -> bool:
        """Whether this process started it."""
        ...

    @property
    def head(self) -> str:
        """Address of its head, "host:port"."""
        ...

    def head_answers(self) -> bool:
        """Whether the head accepts connections."""
        ...

    def node_lives(self) -> bool:
        """Whether the cluster counts this process's node as alive; call this only while the head answers."""
        ...


@dataclass
class ClusterWatch:
    """Looks at a cluster every ``CHECK_SECONDS``.

    Attributes:
        notes: messages for the user, to be taken by the caller.
        silent: whether the head did not answer at the last look.
        failed: whether Ray has refused a call of the driver: then its cluster has ended, whatever answers there now.
    """

    notes: list[str] = field(default_factory=list)
    silent: bool = False
    failed: bool = False
    _last_look: float = field(default_factory=time.monotonic)
    _silent_since: float = 0.0
    _restarts: int = 0

    def has_ended(self, cluster: Cluster, *, now: float) -> bool:
        """Whether our own cluster has ended and must be started again, or another must be joined again.

        Raises:
            EngineError: the head of a cluster that others started is silent for ``HEAD_SECONDS``, or this was so
                ``RESTARTS`` times.
        """
        if now - self._last_look < CHECK_SECONDS:
            return False
        self._last_look = now
        answers = cluster.head_answers()
        if cluster.local:
            return (not answers or self._lost(cluster)) and self._may_restart(
                "Ray has ended on this machine: starting it again; packs that ran are tried again",
                what="Ray on this machine",
            )
        if answers:
            if self.silent:
                self.notes.append(f"the cluster's head ({cluster.head}) answers again")
            self.silent = False
            what = "the Ray cluster" if self.failed else "the node of the Ray cluster"
            what += " that this run was connected to"
            return self._lost(cluster) and self._may_restart(
                f"{what} has ended: joining the cluster again; packs that ran are tried again", what=what
            )
        if not self.silent:
            self.silent, self._silent_since = True, now
            self.notes.append(
                f"the cluster's head ({cluster.head}) does not answer: waiting {HEAD_SECONDS:.0f} s for it; "
                "packs that run go on"
            )
        elif now - self._silent_since >= HEAD_SECONDS:
            raise EngineError(
                f"the cluster's head ({cluster.head}) has not answered for {HEAD_SECONDS:.0f} s; when the cluster is "
                "back, run the same command again"
            )
        return False

    def _lost(self, cluster: Cluster) -> bool:
        """Whether a cluster whose head answers is not the one that this process was connected to, or not with it."""
        return self.failed or not cluster.node_lives()

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """Take an error of Ray for the end of the cluster: the next look finds that it has ended.

        Errors of workers' calls do not come here: they are answers, and ``gang`` classifies them.
        """
        try:
            yield
        except RayError as error:
            logger.info("Ray: %s", one_line(error))
            self.failed = True

    def pack_ended(self) -> None:
        """Record that the cluster has done some work."""
        self._restarts = 0

    def _may_restart(self, note: str, *, what: str) -> bool:
        self._restarts += 1
        if self._restarts > RESTARTS:
            raise EngineError(
                f"{what} has ended {self._restarts} times without finishing a pack: look for what ends its processes "
                "(the kernel's log, limits of memory), or use --executor in-process"
            )
        self.notes.append(note)
        self.failed = False
        return True


class Answering(Protocol):
    """What is looked at of a worker."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def where(self) -> str:
        """Its process and machine; empty while they are not known."""
        ...

    def silence(self, *, now: float) -> float:
        """Seconds for which it has not answered; 0 when nothing was asked."""
        ...

    def loading(self, *, now: float) -> float:
        """Seconds for which it has been loading the base; 0 when it is not."""
        ...


@dataclass
class WorkerWatch:
    """Reports workers that do not answer, each silence once."""

    _reported: set[str] = field(default_factory=set)
    _slow: set[str] = field(default_factory=set)

    def notes(self, workers: Iterable[Answering], *, now: float) -> list[str]:
        """Return a line for each worker that has become silent, answers again, or takes long to start."""
        lines = []
        for worker in workers:
            seconds, place = worker.silence(now=now), f" ({worker.where})" if worker.where else ""
            if seconds >= SILENT_SECONDS and worker.name not in self._reported:
                self._reported.add(worker.name)
                lines.append(
                    f"{worker.name}{place} has not answered for {seconds:.0f} s: it may be stopped (kill -CONT), or "
                    f"its machine overloaded; after {LONGEST_SILENCE / 60:.0f} min its pack is tried elsewhere"
                )
            elif seconds < CHECK_SECONDS and worker.name in self._reported:
                self._reported.discard(worker.name)
                lines.append(f"{worker.name} answers again")
            if worker.loading(now=now) < SLOW_START:
                self._slow.discard(worker.name)
            elif worker.name not in self._slow:
                self._slow.add(worker.name)
                lines.append(f"{worker.name}{place} has been loading the base for {SLOW_START / 60:.0f} min")
        return lines
