"""A text as it is compared: letters, then the language's own rules, then numbers, then white space."""

from functools import lru_cache

from xlharm.config.matching import Variant, default_variants, offered
from xlharm.corpus.match.languages import DOTLESS_I, before_letters, fold_language, primary
from xlharm.corpus.match.letters import composed, fold_letters
from xlharm.corpus.match.numbers import decimal_sign, fold_numbers


@lru_cache(maxsize=65536)
def normalise(text: str, language: str, variants: tuple[Variant, ...] | None = None) -> str:
    """Fold what does not distinguish words: case, width, marks that writers leave out, letter variants, white space.

    Folding a folded text changes nothing.

    Args:
        text: an answer or a form of a detail.
        language: ISO 639 code, with or without subtags.
        variants: see ``config.matching``; the language's default where None.
    """
    code = primary(language)
    text = fold_letters(before_letters(text, code), dotless_i=code in DOTLESS_I)
    text = fold_language(text, code, default_variants(language) if variants is None else variants)
    return " ".join(fold_numbers(composed(text), decimal=decimal_sign(language)).split())


def other_spelling(form: str, language: str) -> str | None:
    """Return how a form is also written in ways that count only where a grid says so; None where there is none."""
    usual, with_all = normalise(form, language), normalise(form, language, offered(language))
    return None if usual == with_all else with_all
