"""Distances between languages."""

import csv

import pytest

from xlharm.corpus.distances import LINGUISTIC, linguistic, scripts, token_distances
from xlharm.corpus.finding import assets

NINE = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")


@pytest.mark.parametrize("kind", LINGUISTIC)
def test_the_studys_languages_have_distances(kind: str) -> None:
    """All but Urdu's phonology, of which the sources have nothing."""
    found = linguistic(kind, NINE)
    known = [language for language in NINE if (kind, language) != ("phonological", "ur")]
    assert set(found) == {(a, b) for a in known for b in known if a != b}
    assert all(0 <= value <= 1 and found[b, a] == value for (a, b), value in found.items())


def test_near_languages_are_nearer() -> None:
    genetic, syntactic = linguistic("genetic", NINE), linguistic("syntactic", NINE)
    assert genetic["en", "de"] < genetic["en", "ru"] < genetic["en", "zh"]
    assert syntactic["en", "de"] < syntactic["en", "zh"]
    assert linguistic("geographic", NINE)["de", "fr"] < linguistic("geographic", NINE)["de", "jv"]


def test_subtags_are_not_looked_at_and_unknown_languages_are_absent() -> None:
    assert linguistic("genetic", ("en", "zh-Hans"))["en", "zh-Hans"] == linguistic("genetic", ("en", "zh"))["en", "zh"]
    assert linguistic("genetic", ("en", "tlh")) == {}


def test_the_table_has_each_pair_once() -> None:
    with (assets() / "distances" / "urielplus.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = [frozenset((row["one"], row["other"])) for row in rows]
    assert len(set(pairs)) == len(pairs)
    assert {len(pair) for pair in pairs} == {2}


def test_scripts() -> None:
    found = scripts(("en", "de", "ur", "fa", "sr", "sr-Latn"))
    assert (found["en", "de"], found["en", "ur"], found["ur", "fa"], found["en", "sr-Latn"]) == (0, 1, 0, 0)
    assert not any("sr" in pair for pair in found)  # written in two scripts


def test_token_overlap_by_hand() -> None:
    # shares a: {1: 3/4, 2: 1/4}; b: {1: 1/4, 3: 3/4}; c: nothing in common with a
    texts = {"a": ["1112"], "b": ["1", "333"], "c": ["4"], "d": []}
    found = token_distances(texts, encode=lambda text: [int(c) for c in text])
    assert found["a", "b"] == found["b", "a"] == pytest.approx(0.75)
    assert found["a", "c"] == 1
    assert not any("d" in pair for pair in found)
