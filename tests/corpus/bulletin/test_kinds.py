import pytest

from xlharm.corpus.bulletin import LANGUAGES
from xlharm.corpus.bulletin.kinds import KINDS
from xlharm.corpus.tinyworld.language import load


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_kind_has_twelve_details_that_have_words(code: str) -> None:
    for vocabulary, concepts in KINDS.values():
        assert len(set(concepts)) == len(concepts) == 12
        assert set(concepts) <= set(load(code).values[vocabulary])


def test_no_two_kinds_share_a_vocabulary() -> None:
    assert len({vocabulary for vocabulary, _ in KINDS.values()}) == len(KINDS) == 10
