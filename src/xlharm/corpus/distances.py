"""How far apart languages are: linguistic distances of the shipped table, scripts, and tokens of a corpus."""

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path

from xlharm.corpus.finding import assets
from xlharm.corpus.validate.scripts import script_of

LINGUISTIC = ("syntactic", "phonological", "inventory", "genetic", "geographic")
KINDS = (*LINGUISTIC, "script", "tokens")
Distances = Mapping[tuple[str, str], float]
"""By pair of languages, in both orders; 0 is nearest, 1 farthest."""


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[tuple[str, str], float]]:
    path: Path = assets() / "distances" / "urielplus.csv"
    kinds: dict[str, dict[tuple[str, str], float]] = {kind: {} for kind in LINGUISTIC}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for kind in LINGUISTIC:
                if row[kind]:
                    kinds[kind][row["one"], row["other"]] = kinds[kind][row["other"], row["one"]] = float(row[kind])
    return kinds


def linguistic(kind: str, languages: Sequence[str]) -> Distances:
    """Return one kind of URIEL+ distances between languages; pairs that the shipped table lacks are absent.

    Args:
        kind: one of ``LINGUISTIC``.
        languages: ISO 639 codes; subtags such as the script are not looked at.
    """
    table, codes = _table()[kind], {language: language.partition("-")[0] for language in languages}
    pairs = [(a, b) for a in languages for b in languages if (codes[a], codes[b]) in table]
    return {pair: table[codes[pair[0]], codes[pair[1]]] for pair in pairs}


def scripts(languages: Sequence[str]) -> Distances:
    """Return 0 for languages of the same Unicode script and 1 for others; languages of unknown script are absent."""
    known = {language: script for language in languages if (script := script_of(language))}
    return {(a, b): float(known[a] != known[b]) for a in known for b in known if a != b}


def token_distances(texts: Mapping[str, Sequence[str]], *, encode: Callable[[str], Sequence[int]]) -> Distances:
    """Return how little the tokens of languages overlap: 1 − Σ min(share in one, share in the other) over all tokens.

    That is the total variation distance of their unigram distributions: 0 for the same tokens in the same shares, 1
    for no token in common.

    Args:
        texts: of each language; languages without any are absent from the result.
        encode: returns a text's token ids.
    """
    counts = {language: Counter(i for text in some for i in encode(text)) for language, some in texts.items()}
    shares = {x: {i: n / count.total() for i, n in count.items()} for x, count in counts.items() if count}
    distances = {}
    for a, b in combinations(shares, 2):
        one, other = shares[a], shares[b]
        overlap = sum(min(share, other[i]) for i, share in one.items() if i in other)
        distances[a, b] = distances[b, a] = 1 - overlap
    return distances
