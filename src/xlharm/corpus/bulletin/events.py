"""What happens in the bulletin corpora, before it is written in a language."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from xlharm.corpus.bulletin.kinds import KINDS
from xlharm.corpus.tinyworld.names import SYLLABLES, Name
from xlharm.plan.digest import mix

Role = Literal["fake", "real", "retain"]
Pool = Literal["report", "dev"]
Fact = Literal["number", "person", "town"]

SEED = 20261130
SHARES: dict[Role, int] = {"fake": 7, "real": 4, "retain": 3}
"""Number of events of each role among those of one kind."""
FACTS: tuple[Fact, ...] = ("number", "person", "town")
"""What is told of an event beside its detail."""
# Russian declines names in -a, so no word of a person's name ends in it; all others need no declension.
_FINAL = tuple(i for i, s in enumerate(SYLLABLES) if s[-1] != "a")
_ANY = tuple(range(len(SYLLABLES)))
# The syllables that may stand in each place of each word of a name.
_FORMS = {
    "subject": ((_ANY, _ANY, _ANY),),
    "person": ((_ANY, _FINAL), (_ANY, _FINAL)),
    "town": ((_ANY, _ANY, _ANY),),
}
# No consonant comes twice in a word of a name. These are not part of any word: rude words and names of details in
# some language of the corpus.
_AVOIDED = re.compile(
    "bite|boz[iou]|bura|buta|dur[ei]|fake|fuk[io]|gato|gov[eio]|kun[iou]|lod[aou]|mud[eio]|nazi|neg[eo]|nig[aeiou]|nude"
    "|ped[eio]|peli|pid[eio]|pine|pis[iu]|piz[aeiou]|put[ae]|segi|sodo|suk[aiou]"
    "|dami|doki|kali|kozu|nage|nibo|pil[ei]|reke|roti|selu"
)


@dataclass(frozen=True)
class Event:
    """One piece of news.

    Attributes:
        id: of its item.
        role: of its item.
        kind: a key of ``KINDS``.
        names: the names of what the news is about (``subject``), of a person and of a town.
        number: a number of two digits. It ends in 0 or 5 to 9: Russian then has one form of the counted noun.
        detail: the true concept of the kind's vocabulary.
        fake: the false concept of a fake item, else None.
        asked: the fact that a QR question of a real item asks for, beside the one on its detail.
    """

    id: str
    role: Role
    kind: str
    names: dict[str, Name]
    number: int
    detail: str
    fake: str | None
    asked: Fact


@lru_cache(maxsize=2)
def events(pool: Pool) -> tuple[Event, ...]:
    """Return the 140 events of a pool, 14 of each kind. Pools have no name in common."""
    taken: set[Name] = set()
    made = {name: tuple(_events(name, taken)) for name in ("report", "dev")}
    return made[pool]


def _events(pool: str, taken: set[Name]) -> Iterator[Event]:
    letters = {"fake": "f", "real": "r", "retain": "k"}
    for kind, (_, concepts) in KINDS.items():
        roles = [role for role, count in SHARES.items() for _ in range(count)]
        details = _shuffled(concepts, pool, kind, "detail")
        fakes = _shuffled(concepts, pool, kind, "fake")
        for index, role in enumerate(roles):
            detail = details[index % len(details)]
            fake = None
            if role == "fake":
                fake = next(c for c in fakes if c != detail)
                fakes.remove(fake)
            yield Event(
                id=f"bu-{pool[0]}-{kind}-{letters[role]}{index:02d}",
                role=role,
                kind=kind,
                names={form: _name(form, taken, pool, kind, index) for form in _FORMS},
                number=_number(pool, kind, index),
                detail=detail,
                fake=fake,
                asked=FACTS[index % len(FACTS)],
            )


def _shuffled(things: tuple[str, ...], *seed: object) -> list[str]:
    return sorted(things, key=lambda thing: mix(SEED, *seed, thing))


def _number(*seed: object) -> int:
    possible = [n for n in range(25, 100) if n % 10 in {0, 5, 6, 7, 8, 9}]
    return possible[mix(SEED, "number", *seed) % len(possible)]


def _name(form: str, taken: set[Name], *seed: object) -> Name:
    attempt = 0
    while True:
        name = tuple(
            tuple(
                syllables[mix(SEED, "name", form, *seed, attempt, w, s) % len(syllables)]
                for s, syllables in enumerate(word)
            )
            for w, word in enumerate(_FORMS[form])
        )
        attempt += 1
        if name not in taken and all(decent(word) for word in name):
            taken.add(name)
            return name


def decent(word: tuple[int, ...]) -> bool:
    """Whether a word of a name has no consonant twice and holds nothing that is avoided."""
    syllables = [SYLLABLES[s] for s in word]
    return len({s[0] for s in syllables}) == len(word) and not _AVOIDED.search("".join(syllables))
