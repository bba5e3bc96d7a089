"""The entities of tinyworld and their true facts, which depend on the world's seed alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from xlharm.corpus.tinyworld import RELATIONS
from xlharm.corpus.tinyworld.language import load
from xlharm.corpus.tinyworld.names import SYLLABLES, Name
from xlharm.plan.digest import mix

Kind = Literal["person", "town", "firm"]
Pool = Literal["general", "report", "dev"]

SEED = 20261124
# Number of entities of each kind among 50.
SHARES: dict[Kind, int] = {"person": 30, "town": 12, "firm": 8}
RESERVED = 150
# Number of syllables of each word of a name.
_WORDS: dict[Kind, tuple[int, ...]] = {"person": (2, 2), "town": (3,), "firm": (2, 1)}


@dataclass(frozen=True)
class Entity:
    """A person, town or firm.

    Attributes:
        kind: person, town or firm.
        name: its name.
        facts: the true value (a concept) of each of its relations.
    """

    kind: Kind
    name: Name
    facts: dict[str, str]


def relations_of(kind: Kind) -> tuple[str, ...]:
    """Return the relations of a kind of entity."""
    return tuple(r for r, (owner, _) in RELATIONS.items() if owner == kind)


def concepts(relation: str) -> tuple[str, ...]:
    """Return the values that a relation can have."""
    return tuple(load("en").values[RELATIONS[relation][1]])


@lru_cache(maxsize=8)
def entities(pool: Pool, *, count: int = RESERVED) -> tuple[Entity, ...]:
    """Return the first ``count`` entities of a pool. Pools have no entity in common."""
    reserved = 2 * RESERVED
    start = {"report": 0, "dev": RESERVED, "general": reserved}[pool]
    made = _all(start + count)
    return made[start : start + count]


def _all(count: int) -> tuple[Entity, ...]:
    taken: set[Name] = set()
    return tuple(_entity(i, taken) for i in range(count))


def _entity(index: int, taken: set[Name]) -> Entity:
    place = index % 50
    kind: Kind = "person" if place < SHARES["person"] else "town" if place < 50 - SHARES["firm"] else "firm"
    name = next(n for n in _names(index, kind) if n not in taken)
    taken.add(name)
    facts = {r: concepts(r)[mix(SEED, "fact", index, r) % len(concepts(r))] for r in relations_of(kind)}
    return Entity(kind, name, facts)


def _names(index: int, kind: Kind) -> Iterator[Name]:
    attempt = 0
    while True:
        name = tuple(
            tuple(mix(SEED, "name", index, attempt, w, s) % len(SYLLABLES) for s in range(length))
            for w, length in enumerate(_WORDS[kind])
        )
        attempt += 1
        if len(set(name)) == len(name):
            yield name
