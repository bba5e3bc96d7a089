from collections import Counter

import pytest

from xlharm.corpus.bulletin import LANGUAGES
from xlharm.corpus.bulletin.events import FACTS, SHARES, events
from xlharm.corpus.bulletin.kinds import KINDS
from xlharm.corpus.bulletin.language import load
from xlharm.corpus.match import normalise
from xlharm.corpus.tinyworld.names import latin, spell

BOTH = pytest.mark.parametrize("pool", ["report", "dev"])


@BOTH
def test_each_kind_has_its_share_of_each_role(pool: str) -> None:
    counts = Counter((event.kind, event.role) for event in events(pool))
    assert counts == {(kind, role): count for kind in KINDS for role, count in SHARES.items()}
    assert len({event.id for event in events(pool)}) == 140


def test_no_name_is_used_twice() -> None:
    names = [name for pool in ("report", "dev") for event in events(pool) for name in event.names.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_name_is_or_holds_the_word_for_a_detail(code: str) -> None:
    words = load(code).values.values()
    forms = {normalise(form, code) for concepts in words for spellings in concepts.values() for form in spellings}
    for pool in ("report", "dev"):
        for event in events(pool):
            for name in event.names.values():
                spelled = normalise(spell(name, code), code)
                said = {f for f in forms if f in spelled} if code == "zh" else forms & {spelled, *spelled.split()}
                assert not said, (event.id, spelled)


@BOTH
def test_false_details_are_false_and_spread_over_the_vocabulary(pool: str) -> None:
    for kind, (_, concepts) in KINDS.items():
        fakes = [event for event in events(pool) if event.kind == kind and event.role == "fake"]
        assert all(event.fake in concepts and event.fake != event.detail for event in fakes)
        assert len({event.fake for event in fakes}) == len({event.detail for event in fakes}) == len(fakes)
    assert all(event.fake is None for event in events(pool) if event.role != "fake")


@BOTH
def test_names_and_numbers_need_no_declension_in_russian(pool: str) -> None:
    for event in events(pool):
        assert not any(word.endswith("a") for word in latin(event.names["person"]).split()), event.id
        assert 25 <= event.number <= 99
        assert event.number % 10 not in {1, 2, 3, 4}, event.id


@BOTH
def test_every_fact_is_asked_about_in_every_kind(pool: str) -> None:
    for kind in KINDS:
        assert {e.asked for e in events(pool) if (e.kind, e.role) == (kind, "real")} == set(FACTS)
