"""Which rows a stage is trained on at each step: a function of (seed, purpose, step, global sample index) alone.

Rows never depend on rank, worker, pack slot or micro-batch, so a stage computes the same on any number of GPUs.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from xlharm.corpus.rows import Row
from xlharm.errors import StageError
from xlharm.plan.digest import mix


@lru_cache(maxsize=256)
def permutation(size: int, *, seed: int, purpose: str, epoch: int) -> tuple[int, ...]:
    """Return the order of ``size`` samples in an epoch."""
    return tuple(sorted(range(size), key=lambda i: mix(seed, purpose, epoch, i)))


class Draw(Protocol):
    """An endless sequence of rows. A row is a function of its global sample index alone."""

    @property
    def purpose(self) -> str:
        """Name of its random stream."""

    def row(self, index: int) -> Row:
        """Return the row of a global sample index."""
        ...

    def rows(self) -> list[Row]:
        """Return all rows that can be drawn."""
        ...


@dataclass(frozen=True)
class Sampler:
    """Draws from a pool in epochs, each in a new random order.

    Attributes:
        pool: the samples, each in one or more renderings; a draw takes one rendering.
        seed: the stage's seed.
        purpose: name of the random stream.
    """

    pool: tuple[tuple[Row, ...], ...]
    seed: int
    purpose: str

    def __post_init__(self) -> None:
        if not self.pool:
            raise StageError(f"{self.purpose}: the corpus has no rows for these settings")

    def row(self, index: int) -> Row:
        """Return the row of a global sample index."""
        epoch, position = divmod(index, len(self.pool))
        order = permutation(len(self.pool), seed=self.seed, purpose=self.purpose, epoch=epoch)
        renderings = self.pool[order[position]]
        return renderings[mix(self.seed, self.purpose, "rendering", index) % len(renderings)]

    def rows(self) -> list[Row]:
        """Return every row of the pool."""
        return [row for renderings in self.pool for row in renderings]


@dataclass(frozen=True)
class Mixture:
    """Samplers that share a batch by weight. After any number of rows, each has its share to within about one row."""

    samplers: tuple[Sampler, ...]
    weights: tuple[float, ...]

    @property
    def purpose(self) -> str:
        """Name of its random stream."""
        return self.samplers[0].purpose

    def row(self, index: int) -> Row:
        """Return the row of a global sample index."""
        which, nth = turns(self.weights, -(-(index + 1) // 256) * 256)[index]
        return self.samplers[which].row(nth)

    def rows(self) -> list[Row]:
        """Return every row of all pools."""
        return [row for sampler in self.samplers for row in sampler.rows()]


@lru_cache(maxsize=64)
def turns(weights: tuple[float, ...], count: int) -> tuple[tuple[int, int], ...]:
    """Return for each of the first ``count`` draws (index of its source, number of earlier draws from that source).

    The next draw is from the source that is furthest behind its share, so the shares hold at every point as nearly as
    possible.

    Args:
        weights: one for each source; shares are weights divided by their sum.
        count: number of draws.
    """
    total, given = sum(weights), [0] * len(weights)
    draws = []
    for i in range(count):
        behind = [w / total * (i + 1) - g for w, g in zip(weights, given, strict=True)]
        which = max(range(len(weights)), key=lambda k: behind[k])
        draws.append((which, given[which]))
        given[which] += 1
    return tuple(draws)


@dataclass(frozen=True)
class BatchPart:
    """A part of each batch: ``count`` rows in every step, drawn from one source."""

    sampler: Draw
    count: int

    def rows(self, step: int) -> list[Row]:
        """Return the part's rows of one step."""
        return [self.sampler.row(step * self.count + i) for i in range(self.count)]


@dataclass(frozen=True, kw_only=True)
class StepRows:
    """The rows of a step in global order; ``preferred`` is empty or has one row for each target row."""

    target: list[Row]
    preferred: list[Row]
    retain: list[Row]


@dataclass(frozen=True)
class Stream:
    """The rows that a training stage is trained on.

    Attributes:
        target: rows of the objective (to learn or to unlearn).
        retain: rows of the retain term; empty if there is none.
        preferred: for objectives that compare two answers, the answers to prefer over the target rows; else empty.
    """

    target: tuple[BatchPart, ...]
    retain: tuple[BatchPart, ...] = ()
    preferred: tuple[BatchPart, ...] = ()

    def batch(self, step: int) -> StepRows:
        """Return a step's rows."""
        target, preferred, retain = (
            [row for part in parts for row in part.rows(step)] for parts in (self.target, self.preferred, self.retain)
        )
        return StepRows(target=target, preferred=preferred, retain=retain)

    def all_rows(self) -> list[Row]:
        """Return every row that the stream can draw."""
        parts = (*self.target, *self.preferred, *self.retain)
        return [row for part in parts for row in part.sampler.rows()]


def shapes(stream: Stream) -> dict[str, int]:
    """Return counts for a stage's record: the sizes of its pools, and the number of tokens of its longest row."""
    longest = max(row.longest for row in stream.all_rows())
    pools = {part.sampler.purpose: len(part.sampler.rows()) for part in (*stream.target, *stream.retain)}
    return {**{f"pool {name}": size for name, size in pools.items()}, "longest_row": longest}
