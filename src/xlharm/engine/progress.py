"""How a run goes: a snapshot for whoever draws it."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xlharm.engine.scheduler import State
from xlharm.plan.build import Plan
from xlharm.plan.cost import DEFAULT_SECONDS
from xlharm.plan.stage import PLACES, Kind, Place
from xlharm.stages.job import Progress

_WINDOW = 30.0  # seconds over which a rate is taken


@dataclass(frozen=True, kw_only=True)
class PackLine:
    """A running pack."""

    label: str
    slots: int
    step: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How a run goes.

    Attributes:
        total: stages of the plan.
        done: stages in the store.
        running: stages being computed.
        left: stages neither done, running nor given up.
        dead: stages that failed, and those below them.
        packs_left: packs with something left to do, running ones included.
        workers: workers there are.
        tokens_per_second: over the last half minute; None before there is anything to say.
        eta: seconds to go, as far as known.
        elapsed: seconds since the run began.
        packs: the running packs.
        notes: what happened since the last snapshot, for people.
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


@dataclass
class Meter:
    """Keeps what a snapshot needs beyond the scheduler's state."""

    plan: Plan
    began: float
    seconds: Mapping[Kind, float]
    notes: list[str] = field(default_factory=list)
    _finished_tokens: int = 0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _started: dict[str, float] = field(default_factory=dict)
    _heard: dict[str, tuple[float, int]] = field(default_factory=dict)  # when, and the step
    _took: dict[Kind, tuple[float, int]] = field(default_factory=dict)  # seconds of whole packs, and how many

    def note(self, line: str) -> None:
        """Say something in the next snapshot."""
        self.notes.append(line)

    def started(self, pack: str, *, now: float) -> None:
        """A pack began."""
        self._started[pack] = now

    def ended(self, pack: str, *, kind: Kind, tokens: Iterable[int], whole: bool, now: float) -> None:
        """A pack came back; ``whole`` says that it went through, so that its time is worth knowing."""
        began = self._started.pop(pack, now)
        self._heard.pop(pack, None)
        self._finished_tokens += sum(tokens)
        if whole:
            seconds, count = self._took.get(kind, (0.0, 0))
            self._took[kind] = (seconds + now - began, count + 1)

    def snapshot(self, state: State, progress: Mapping[str, Progress], *, workers: int, now: float) -> Snapshot:
        """Describe this moment."""
        active = sum(len(state.missing(p)) for p in state.running)
        remaining = state.remaining()
        notes, self.notes = tuple(self.notes), []
        return Snapshot(
            total=len(self.plan.stages),
            done=len(state.done),
            running=active,
            left=state.left - active,
            dead=len(state.dead),
            packs_left=len(remaining),
            workers=workers,
            tokens_per_second=self._rate(progress.values(), now=now),
            eta=self._eta(state, remaining, progress, workers=workers, now=now),
            elapsed=now - self.began,
            packs=tuple(self._lines(state, progress)),
            notes=notes,
        )

    def pack_seconds(self, state: State, pack: str) -> float:
        """Return how long a pack takes: the mean of those of its kind in this run, or else an estimate."""
        kind = state.packs[pack].kind
        if kind in self._took:
            seconds, count = self._took[kind]
            return seconds / count
        return self.seconds.get(kind, DEFAULT_SECONDS[kind]) * len(state.missing(pack))

    def seconds_left(self, state: State) -> float:
        """Return how long one worker would take for what is left."""
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
            ahead = self._by_steps(progress.get(pack), now=now)
            if ahead is None:
                ahead = max(self.pack_seconds(state, pack) - spent, 0.0)
            work[state.packs[pack].place] += ahead
            longest = max(longest, ahead)
        if work["device"] and not workers:
            return None
        return max(work["device"] / max(workers, 1), work["endpoint"], longest)

    def _by_steps(self, told: Progress | None, *, now: float) -> float | None:
        """Return how long a running pack still takes at the pace since it was first heard of."""
        if told is None:
            return None
        then, step = self._heard.setdefault(told.pack, (now, told.step))  # it may have begun from a checkpoint
        return (now - then) * (told.steps - told.step) / (told.step - step) if told.step > step else None

    def _lines(self, state: State, progress: Mapping[str, Progress]) -> Iterable[PackLine]:
        for pack in state.running:
            keys = state.missing(pack)
            if not keys:
                continue
            now = progress.get(pack)
            yield PackLine(
                label=self.plan.stages[keys[0]].label,
                slots=len(keys),
                step=now.step if now else 0,
                steps=now.steps if now else 0,
            )
