"""Which spellings count as the same where opinions differ: a setting for each language, with its default."""

from typing import Literal

from xlharm.config.training import Language

MATCHING_VERSION = 2
"""Part of every evaluation's key. Raise it with any change of what ``corpus.match`` counts as the same."""

Variant = Literal["digraphs", "plain_letters"]
Matching = dict[Language, tuple[Variant, ...]]
"""The variants that count in a language; a language that is not named keeps its default."""

# digraphs: ae for ä (æ), oe for ö (ø), ue for ü, aa for å, as written where a keyboard lacks the letter. They count:
#   hardly two words of a language differ in this alone.
# plain_letters: b, d, k, y for the Hausa letters ɓ, ɗ, ƙ, ƴ. They do not count: many pairs of words differ in this
#   alone (ƙasa "country", kasa "fail").
OFFERED: dict[str, tuple[Variant, ...]] = {
    **dict.fromkeys(("de", "da", "nb", "nn", "no"), ("digraphs",)),
    "ha": ("plain_letters",),
}
_DEFAULT: tuple[Variant, ...] = ("digraphs",)


def offered(language: str) -> tuple[Variant, ...]:
    """Return the variants that may be switched in a language."""
    return OFFERED.get(language.split("-", maxsplit=1)[0], ())


def default_variants(language: str) -> tuple[Variant, ...]:
    """Return the variants that count in a language unless a grid says otherwise."""
    return tuple(variant for variant in offered(language) if variant in _DEFAULT)


def variants_of(matching: Matching, language: str) -> tuple[Variant, ...]:
    """Return the variants that count in a language in a grid, in the order in which they are offered."""
    named = matching.get(language)
    return default_variants(language) if named is None else tuple(v for v in offered(language) if v in named)


def check_matching(matching: Matching) -> None:
    """Refuse variants that a language does not have.

    Raises:
        ValueError: the first one, with those that there are.
    """
    for language, variants in matching.items():
        for variant in variants:
            if variant not in offered(language):
                choices = ", ".join(offered(language)) or "nothing to choose"
                raise ValueError(f"matching.{language}: {variant} does not apply to this language ({choices})")
