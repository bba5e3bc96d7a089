"""Where every row of a source went: it is an item, was joined to one, or was left out for a reason."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Reason:
    """How many rows were left out for one reason, and where the first of them is."""

    count: int
    first: str


class LeftOut:
    """Rows that are left out, by reason."""

    def __init__(self) -> None:
        self._reasons: dict[str, Reason] = {}

    def add(self, reason: str, *, where: str, count: int = 1) -> None:
        """Count rows; the place of the first is kept."""
        self._reasons.setdefault(reason, Reason(0, where)).count += count

    def update(self, other: "LeftOut") -> None:
        """Add what another one counted."""
        for name, reason in other:
            self.add(name, where=reason.first, count=reason.count)

    def __iter__(self) -> Iterator[tuple[str, Reason]]:
        """Yield reasons, the most frequent first."""
        yield from sorted(self._reasons.items(), key=lambda entry: -entry[1].count)

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def rows(self) -> int:
        """How many rows they are in all."""
        return sum(reason.count for reason in self._reasons.values())


@dataclass(frozen=True)
class Imported:
    """What an import wrote. Rows read are those used and those left out: ``read == used + left_out.rows``.

    Attributes:
        items: number of items by language; 0 where every row of a language was left out.
        read: rows of the source.
        joined: rows that gave their perturbed answers to another row's item.
        left_out: rows left out, by reason.
        notes: what was decided that nobody asked for.
        example: one item as it was understood, a line a part.
    """

    items: dict[str, int]
    read: int
    joined: int
    left_out: LeftOut
    notes: tuple[str, ...] = ()
    example: tuple[str, ...] = field(default=())

    @property
    def used(self) -> int:
        """Rows that are in the corpus."""
        return sum(self.items.values()) + self.joined
