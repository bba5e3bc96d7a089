"""A slot's rows of one step, and where their loss tokens lie when the rows are laid one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xlharm.corpus.rows import Row
from xlharm.corpus.sampling import StepRows
from xlharm.model.ragged import on_device


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A global batch, or some of its places.

    A place is a target row (with its preferred row beside it, where an objective compares two answers), or a
    retain row; target rows come first.
    """

    target: tuple[Row, ...]
    preferred: tuple[Row, ...]
    retain: tuple[Row, ...]

    @staticmethod
    def of(rows: StepRows) -> "Batch":
        """Take a stream's rows of one step."""
        return Batch(target=tuple(rows.target), preferred=tuple(rows.preferred), retain=tuple(rows.retain))

    @property
    def places(self) -> int:
        """Number of places."""
        return len(self.target) + len(self.retain)

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.all_rows())

    @property
    def tokens(self) -> int:
        """Tokens of all rows, padding excluded."""
        return sum(len(row.ids) for row in self.all_rows())

    def part(self, name: str) -> tuple[Row, ...]:
        """Return the rows of a part: ``target``, ``preferred`` or ``retain``."""
        return {"target": self.target, "preferred": self.preferred, "retain": self.retain}[name]

    def tokens_of(self, name: str) -> int:
        """Return the number of loss tokens of a part."""
        return sum(len(row.ids) - row.start for row in self.part(name))

    def all_rows(self) -> tuple[Row, ...]:
        """Return the rows in the order in which a forward holds them."""
        return (*self.target, *self.preferred, *self.retain)

    def select(self, places: Sequence[int]) -> "Batch":
        """Return some places of a global batch."""
        first = [p for p in places if p < len(self.target)]
        kept = [p - len(self.target) for p in places if p >= len(self.target)]
        return Batch(
            target=tuple(self.target[p] for p in first),
            preferred=tuple(self.preferred[p] for p in first) if self.preferred else (),
            retain=tuple(self.retain[p] for p in kept),
        )


@dataclass(frozen=True)
class Span:
    """A part's loss tokens in a view: [start, stop), of ``rows`` rows."""

    start: int
    stop: int
    rows: int


@dataclass(frozen=True)
class View:
    """Where the loss tokens of a batch's rows lie.

    Attributes:
        positions: [tokens], places in the rows, laid one after another, of the tokens that *predict* a loss token.
        labels: [tokens], the tokens predicted.
        owner: [tokens], index of the token's row within its part.
        spans: the parts that have rows.
    """

    positions: Tensor
    labels: Tensor
    owner: Tensor
    spans: dict[str, Span]

    @property
    def before_retain(self) -> int:
        """Number of tokens that are not of retain rows."""
        return max((s.stop for n, s in self.spans.items() if n != "retain"), default=0)

    @staticmethod
    def of(batch: Batch, *, device: torch.device) -> "View":
        """Lay a batch's rows one after another."""
        positions: list[int] = []
        labels: list[int] = []
        owner: list[int] = []
        spans, at = {}, 0
        for name in ("target", "preferred", "retain"):
            start = len(labels)
            for i, row in enumerate(batch.part(name)):
                positions += range(at + row.start - 1, at + len(row.ids) - 1)
                labels += row.ids[row.start :]
                owner += [i] * (len(row.ids) - row.start)
                at += len(row.ids)
            if len(labels) > start:
                spans[name] = Span(start, len(labels), len(batch.part(name)))
        together = on_device(torch.tensor([positions, labels, owner]), device)
        return View(together[0], together[1], together[2], spans)
