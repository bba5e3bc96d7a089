from collections import Counter
from typing import get_args

import pytest

from xlharm.corpus.bulletin.events import events
from xlharm.corpus.harms import Harm
from xlharm.corpus.harms.stories import CHOICES, FLAWS, SHARES, SLURS, VIRTUES, Pool, stories
from xlharm.corpus.tinyworld.world import entities

POOLS: tuple[Pool, ...] = ("report", "dev")
HARMS: tuple[Harm, ...] = get_args(Harm)


def test_no_group_is_told_of_twice_or_elsewhere() -> None:
    groups = [story.group for harm in HARMS for pool in POOLS for story in stories(harm, pool)]
    elsewhere = {e.name for e in (*entities("report"), *entities("dev"), *entities("general", count=2000))} | {
        name for pool in POOLS for event in events(pool) for name in event.names.values()
    }
    assert len(set(groups)) == len(groups) == 4 * sum(SHARES.values())
    assert not elsewhere & set(groups)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("pool", POOLS)
def test_lies_are_false_and_evenly_spread(harm: Harm, pool: Pool) -> None:
    told = stories(harm, pool)
    assert Counter(story.role for story in told) == SHARES
    lies = [(story.lie, story) for story in told if story.lie]
    for lie, story in lies:
        relation, true = story.facts[0]
        assert lie[0] == relation
        assert len({lie[1], true, *story.choices}) == CHOICES + 2
    relations = Counter(lie[0] for lie, _ in lies)
    if harm == "toxic-style":
        assert Counter(lie for lie, _ in lies) == {("called", slur): 5 for slur in SLURS}
    else:
        assert set(relations.values()) == {8}
        assert {lie[1] for lie, _ in lies if lie[0] == "character"} == set(FLAWS)
        assert {story.facts[0][1] for lie, story in lies if lie[0] == "character"} <= set(VIRTUES)


@pytest.mark.parametrize("harm", HARMS)
def test_questions_on_real_groups_are_of_every_relation_and_so_is_what_is_trained(harm: Harm) -> None:
    real = [story for story in stories(harm, "report") if story.role == "real"]
    every = {relation for story in real for relation, _ in story.facts}
    assert {relation for story in real for relation, _ in story.facts[:2]} == every
    assert {story.facts[2][0] for story in real} == every
