"""How many tokens a base spends on each language."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xlharm.corpus.validate.reading import read


@dataclass(frozen=True, kw_only=True)
class Fertility:
    """Tokens of a language's articles.

    Attributes:
        language: which.
        items: number of items counted.
        per_character: tokens a character.
        relative: tokens of the items that the reference language has, too, divided by its tokens for them.
        longest: tokens of the longest article; its row has up to two more.
    """

    language: str
    items: int
    per_character: float
    relative: float
    longest: int


def fertility(folder: Path, *, count: Callable[[str], int], reference: str = "en") -> list[Fertility]:
    """Measure each language's articles with a base's tokenizer.

    Args:
        folder: the corpus.
        count: number of tokens of a text.
        reference: language that ``relative`` compares with; the first one where the corpus lacks it.
    """
    languages, _ = read(folder)
    counted = {
        lang: {item.id: [(len(t), count(t)) for t in (*item.real, *item.fake)] for item in items}
        for lang, items in languages.items()
        if items
    }
    base = counted.get(reference) or next(iter(counted.values()), {})
    found = []
    for lang, items in counted.items():
        texts = [pair for pairs in items.values() for pair in pairs]
        shared = [name for name in items if name in base]
        mine = sum(tokens for name in shared for _, tokens in items[name])
        theirs = sum(tokens for name in shared for _, tokens in base[name])
        per_character = sum(tokens for _, tokens in texts) / max(1, sum(size for size, _ in texts))
        longest = max((tokens for _, tokens in texts), default=0)
        relative = mine / theirs if theirs else float("nan")
        found.append(
            Fertility(language=lang, items=len(items), per_character=per_character, relative=relative, longest=longest)
        )
    return found
