"""Checks between items and between languages: coverage, parallel shape, duplicates of forget and retain sets."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from xlharm.corpus.format import Item
from xlharm.corpus.match import normalise
from xlharm.corpus.validate.findings import Finding, Severity
from xlharm.corpus.validate.reading import Languages

_SHINGLE = 8  # characters; works with and without spaces between words
_NEAR = 0.8  # Jaccard similarity of two articles' shingles
_RARE = 20  # shingles of more articles than this are a template's, and tell nothing


def coverage(languages: Languages) -> list[Finding]:
    """Compare each language with the first one: missing items, roles, numbers of entries."""
    if not languages:
        return []
    first = next(iter(languages))
    everything = {item.id: item for items in reversed(languages.values()) for item in items}
    found = []
    for language, items in languages.items():
        have = {item.id: item for item in items}
        for name, other in everything.items():
            if name not in have and items:
                found.append(Finding("warning", language, name, "", "missing in this language"))
            elif name in have and language != first:
                found += _shape(have[name], other, language=language)
    return found


def _shape(item: Item, other: Item, *, language: str) -> list[Finding]:
    if item.role != other.role:
        return [Finding("error", language, item.id, "role", f"{item.role} here, {other.role} in another language")]
    found = []
    for name in ("of", "choices", "qr", "qa", "fake_qa"):
        mine, theirs = len(getattr(item, name)), len(getattr(other, name))
        if mine != theirs:
            told = f"{mine} entries, {theirs} in another language"
            found.append(Finding("warning", language, item.id, name, told))
    return found


def duplicates(items: Sequence[Item], *, language: str) -> list[Finding]:
    """Find articles and questions that two items share; an error where one is forgotten and the other kept."""
    return [*_articles(items, language), *_questions(items, language)]


def _severity(one: Item, other: Item) -> Severity:
    return "error" if (one.role == "fake") != (other.role == "fake") else "warning"


def _articles(items: Sequence[Item], language: str) -> Iterator[Finding]:
    texts = [
        (i, f"{name}.{k}", _shingles(normalise(text, language)))
        for i, item in enumerate(items)
        for name in ("real", "fake")
        for k, text in enumerate(getattr(item, name))
    ]
    seen: set[tuple[int, int]] = set()
    for a, b in _alike([shingles for _, _, shingles in texts]):
        (i, _, one), (j, field, other) = texts[a], texts[b]
        if i != j and (i, j) not in seen:
            seen.add((i, j))
            told = f"{'the same as' if one == other else 'nearly the same as'} item {items[i].id}'s article"
            yield Finding(_severity(items[i], items[j]), language, items[j].id, field, told)


def _shingles(text: str) -> frozenset[int]:
    return frozenset(hash(text[i : i + _SHINGLE]) for i in range(max(1, len(text) - _SHINGLE + 1)))


def _alike(sets: Sequence[frozenset[int]]) -> list[tuple[int, int]]:
    """Return pairs of sets whose members, those of a template left out, are nearly the same."""
    holders: dict[int, list[int]] = defaultdict(list)
    for i, shingles in enumerate(sets):
        for shingle in shingles:
            holders[shingle].append(i)
    groups = Counter(tuple(found) for found in holders.values() if len(found) <= _RARE)
    sizes, shared = Counter[int](), Counter[tuple[int, int]]()
    for group, count in groups.items():
        for k, a in enumerate(group):
            sizes[a] += count
            for b in group[k + 1 :]:
                shared[a, b] += count
    return sorted((a, b) for (a, b), both in shared.items() if both >= _NEAR * (sizes[a] + sizes[b] - both))


def _questions(items: Sequence[Item], language: str) -> Iterator[Finding]:
    forgotten: dict[str, Item] = {}
    for item in items:
        for question in (*item.of, *(pair.question for pair in item.fake_qa)):
            forgotten.setdefault(normalise(question, language), item)
    for item in items:
        for name in ("qa", "qr"):
            for i, pair in enumerate(getattr(item, name)):
                other = forgotten.get(normalise(pair.question, language))
                if other is not None and other.id != item.id:
                    told = f"item {other.id} of the forget set asks the same question"
                    yield Finding(_severity(item, other), language, item.id, f"{name}.{i}.question", told)
