"""The progress of a run: snapshots for the terminal and for trackers."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xlharm.engine.scheduler import State
from xlharm.plan.build import Plan
from xlharm.plan.packs import Pack
from xlharm.plan.stage import PLACES, Kind, Place
from xlharm.stages.job import Progress

_WINDOW = 30.0  # seconds over which tokens per second are averaged


@dataclass(frozen=True, kw_only=True)
class PackLine:
    """A running pack.

    Attributes:
        label: of its first unfinished stage.
        slots: number of its unfinished stages.
        step: number of finished steps.
        steps: number of all steps; 0 before the first report.
        worker: the worker that runs it.
        keys: the first 16 digits of the keys of its unfinished stages.
        memory: most bytes of device memory that it has used so far; 0 on the CPU.
    """

    label: str
    slots: int
    step: int
    steps: int
    worker: str = ""
    keys: tuple[str, ...] = ()
    memory: int = 0


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The progress of a run at one moment. All counts but ``packs_left`` and ``workers`` are numbers of stages.

    Attributes:
        total: stages of the plan.
        done: stages in the store.
        running: stages being computed.
        left: stages that are neither done, running nor dead.
        dead: stages that failed, and their descendants.
        packs_left: packs with unfinished stages, running ones included.
        workers: workers that have loaded the base.
        tokens_per_second: mean of the last half minute; None before the first tokens.
        eta: estimated seconds to the end; None while no worker is ready.
        elapsed: seconds since the run began.
        packs: the running packs.
        notes: messages for the user since the last snapshot.
        pace: the time that the ended packs took, as a multiple of the estimates; None before the first.
    """

    total: int
    done: int
    running: int
    left: int
    dead: int
    packs_left: int
    workers: int
    tokens_per_second: float | None
    eta: float | None
    elapsed: float
    packs: tuple[PackLine, ...]
    notes: tuple[str, ...]
    pace: float | None = None


@dataclass
class Meter:
    """Measures what a snapshot shows beyond the scheduler's state.

    Attributes:
        plan: the plan that runs.
        began: when the run began, by ``time.monotonic``.
        seconds: expected seconds of each stage, by key.
        expected: seconds that all stages would take, as estimated when the first worker was ready; None before.
        notes: messages for the next snapshot.
        ready: seconds until the first worker had loaded the base; None before.
    """

    plan: Plan
    began: float
    seconds: Mapping[str, float]
    notes: list[str] = field(default_factory=list)
    expected: float | None = None
    ready: float | None = None
    _workers: int = 0  # most workers at a time
    _prepared: float = 0.0
    _finished_tokens: int = 0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _started: dict[str, float] = field(default_factory=dict)
    _first_reports: dict[str, tuple[float, int]] = field(default_factory=dict)  # time and step, by pack
    _ended: dict[Kind, tuple[float, float]] = field(default_factory=dict)  # of whole packs: seconds, expected ones

    def note(self, line: str) -> None:
        """Add a message to the next snapshot."""
        self.notes.append(line)

    @property
    def start(self) -> float | None:
        """Seconds of this run that no stage took: until the first worker was ready, and a worker's mean in its packs.

        In its packs, a worker checks longer rows, makes its training engine and compiles code. None before that.
        """
        return None if self.ready is None else self.ready + self._prepared / max(self._workers, 1)

    def started(self, pack: str, *, now: float) -> None:
        """Record that a pack began."""
        self._started[pack] = now

    def ended(self, pack: Pack, *, tokens: Mapping[str, int], whole: bool, now: float, prepared: float = 0.0) -> None:
        """Record that a pack ended; its time counts for estimates only when it ran to its end (``whole``).

        Args:
            pack: the pack.
            tokens: tokens of the stages that it finished, by key.
            whole: whether it finished all that it was to do.
            now: the time.
            prepared: seconds of it that the worker spent on what it does once.
        """
        began = self._started.pop(pack.id, now) + prepared
        self._prepared += prepared
        self._first_reports.pop(pack.id, None)
        self._finished_tokens += sum(tokens.values())
        if whole and tokens:
            seconds, expected = self._ended.get(pack.kind, (0.0, 0.0))
            self._ended[pack.kind] = (seconds + now - began, expected + sum(self.seconds[key] for key in tokens))

    def snapshot(self, state: State, progress: Mapping[str, Progress], *, workers: int, now: float) -> Snapshot:
        """Return the snapshot of this moment, with the messages since the last one."""
        self.note_workers(state, workers, now=now)
        active = sum(len(state.missing(p)) for p in state.running)
        remaining = state.remaining()
        notes, self.notes = tuple(self.notes), []
        eta = self._eta(state, remaining, progress, workers=workers, now=now)
        if self.expected is None and eta is not None:
            self.expected = eta
        return Snapshot(
            total=len(self.plan.stages),
            done=len(state.done),
            running=active,
            left=state.left - active,
            dead=len(state.dead),
            packs_left=len(remaining),
            workers=workers,
            tokens_per_second=self._rate(progress.values(), now=now),
            eta=eta,
            elapsed=now - self.began,
            packs=tuple(self._lines(state, progress)),
            notes=notes,
            pace=self.pace,
        )

    @property
    def pace(self) -> float | None:
        """The time that the ended packs took, as a multiple of what was expected of them; None before the first."""
        seconds, expected = (sum(column) for column in zip((0.0, 0.0), *self._ended.values(), strict=True))
        return seconds / expected if expected > 0 else None

    def note_workers(self, state: State, workers: int, *, now: float) -> None:
        """Note the first worker that is ready; a pack that was handed to it before begins now."""
        self._workers = max(self._workers, workers)
        if workers and self.ready is None:
            self.ready = now - self.began
            waiting = [pack for pack in state.running if state.packs[pack].place == "device"]
            self._started |= dict.fromkeys(waiting, now)

    def pack_seconds(self, state: State, pack: str) -> float:
        """Return a pack's expected seconds, corrected by what the ended packs of its kind took."""
        seconds, expected = self._ended.get(state.packs[pack].kind, (1.0, 1.0))
        correction = seconds / expected if expected > 0 else 1.0
        return correction * sum(self.seconds[key] for key in state.missing(pack))

    def seconds_left(self, state: State) -> float:
        """Return how many seconds one worker would need for the unfinished packs."""
        return sum(self.pack_seconds(state, pack) for pack in state.remaining())

    def _rate(self, progress: Iterable[Progress], *, now: float) -> float | None:
        tokens = self._finished_tokens + sum(p.tokens for p in progress)
        self._samples.append((now, tokens))
        while now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        return (tokens - before) / (now - then) if now > then and tokens > before else None

    def _eta(
        self, state: State, remaining: Sequence[str], progress: Mapping[str, Progress], *, workers: int, now: float
    ) -> float | None:
        longest = 0.0
        work: dict[Place, float] = dict.fromkeys(PLACES, 0.0)
        for pack in remaining:
            spent = now - self._started[pack] if pack in state.running and pack in self._started else 0.0
            rest = self._rest_by_steps(progress.get(pack), now=now)
            if rest is None:
                rest = max(self.pack_seconds(state, pack) - spent, 0.0)
            work[state.packs[pack].place] += rest
            longest = max(longest, rest)
        if work["device"] and not workers:
            return None
        return max(work["device"] / max(workers, 1), work["endpoint"], longest)

    def _rest_by_steps(self, progress: Progress | None, *, now: float) -> float | None:
        """Return the seconds that a running pack still needs, by its pace since its first report."""
        if progress is None:
            return None
        # The first step that is reported may be above 0: a pack may continue from a checkpoint.
        then, first = self._first_reports.setdefault(progress.pack, (now, progress.step))
        step, steps = progress.step, progress.steps
        return (now - then) * (steps - step) / (step - first) if step > first else None

    def _lines(self, state: State, progress: Mapping[str, Progress]) -> Iterable[PackLine]:
        for pack in state.running:
            keys = state.missing(pack)
            if not keys:
                continue
            reported = progress.get(pack)
            yield PackLine(
                label=self.plan.stages[keys[0]].label,
                slots=len(keys),
                step=reported.step if reported else 0,
                steps=reported.steps if reported else 0,
                worker=state.running[pack],
                keys=tuple(key[:16] for key in keys),
                memory=reported.memory if reported else 0,
            )
