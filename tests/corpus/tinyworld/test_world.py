from collections import Counter

from xlharm.corpus.tinyworld import RELATIONS
from xlharm.corpus.tinyworld.world import RESERVED, SHARES, concepts, entities, relations_of


def test_pools_share_no_name() -> None:
    everybody = [*entities("report"), *entities("dev"), *entities("general", count=1000)]
    assert len({e.name for e in everybody}) == len(everybody) == 2 * RESERVED + 1000


def test_a_larger_general_pool_begins_like_a_smaller_one() -> None:
    assert entities("general", count=200)[:100] == entities("general", count=100)


def test_entities_know_exactly_the_relations_of_their_kind() -> None:
    for entity in entities("general", count=200):
        assert tuple(entity.facts) == relations_of(entity.kind)
        assert all(value in concepts(relation) for relation, value in entity.facts.items())


def test_every_relation_belongs_to_one_kind() -> None:
    owned = [r for kind in SHARES for r in relations_of(kind)]
    assert sorted(owned) == sorted(RELATIONS)


def test_kinds_come_in_their_shares() -> None:
    for pool in ("report", "dev"):
        counts = Counter(e.kind for e in entities(pool))
        assert counts == {kind: 3 * share for kind, share in SHARES.items()}


def test_values_are_spread_over_each_vocabulary() -> None:
    # A value that is true of nearly everybody could be guessed without knowing anything.
    people = [e for e in entities("general", count=2500) if e.kind == "person"]
    for relation in relations_of("person"):
        commonest = Counter(e.facts[relation] for e in people).most_common(1)[0][1]
        assert commonest < 2 * len(people) / len(concepts(relation))
