"""A slot's rows of one step, and the positions of their loss tokens in the concatenated rows."""

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

    A place is one target row or one retain row. Where an objective compares two answers, a target row's place also
    holds its preferred row. Target rows come before retain rows.
    """

    target: tuple[Row, ...]
    preferred: tuple[Row, ...]
    retain: tuple[Row, ...]

    @staticmethod
    def of(rows: StepRows) -> "Batch":
        """Make a batch of a stream's rows of one step."""
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
        """Number of tokens of all rows, those of encoders included, without padding."""
        return sum(row.tokens for row in self.all_rows())

    def part(self, name: str) -> tuple[Row, ...]:
        """Return the rows of a part: ``target``, ``preferred`` or ``retain``."""
        return {"target": self.target, "preferred": self.preferred, "retain": self.retain}[name]

    def tokens_of(self, name: str) -> int:
        """Return the number of loss tokens of a part."""
        return sum(len(row.labels) for row in self.part(name))

    def all_rows(self) -> tuple[Row, ...]:
        """Return the rows in the order in which a forward pass gets them."""
        return (*self.target, *self.preferred, *self.retain)

    def select(self, places: Sequence[int]) -> "Batch":
        """Return some places of a global batch."""
        target = [p for p in places if p < len(self.target)]
        retain = [p - len(self.target) for p in places if p >= len(self.target)]
        return Batch(
            target=tuple(self.target[p] for p in target),
            preferred=tuple(self.preferred[p] for p in target) if self.preferred else (),
            retain=tuple(self.retain[p] for p in retain),
        )


@dataclass(frozen=True)
class Span:
    """The range of one part's loss tokens among those of a batch: [start, stop).

    Attributes:
        start: first loss token.
        stop: one after the last loss token.
        rows: number of rows of the part.
    """

    start: int
    stop: int
    rows: int


@dataclass(frozen=True)
class LossTokens:
    """The loss tokens of a batch, and their positions in its concatenated rows.

    Attributes:
        positions: [loss tokens], position in the concatenated rows of the token that *predicts* each loss token
            (a masked token predicts itself).
        labels: [loss tokens], the loss tokens themselves.
        owner: [loss tokens], index of each token's row within its part.
        spans: the range of each part that has rows, by the part's name.
    """

    positions: Tensor
    labels: Tensor
    owner: Tensor
    spans: dict[str, Span]

    @property
    def before_retain(self) -> int:
        """Number of loss tokens that do not belong to retain rows."""
        return max((s.stop for n, s in self.spans.items() if n != "retain"), default=0)

    @staticmethod
    def of(batch: Batch, *, device: torch.device) -> "LossTokens":
        """Return the loss tokens of a batch whose rows are concatenated."""
        positions: list[int] = []
        labels: list[int] = []
        owner: list[int] = []
        spans, at = {}, 0
        for name in ("target", "preferred", "retain"):
            start = len(labels)
            for i, row in enumerate(batch.part(name)):
                positions += [at + place for place in row.predicting]
                labels += row.labels
                owner += [i] * len(row.labels)
                at += len(row.ids)
            if len(labels) > start:
                spans[name] = Span(start, len(labels), len(batch.part(name)))
        together = on_device(torch.tensor([positions, labels, owner]), device)
        return LossTokens(together[0], together[1], together[2], spans)
