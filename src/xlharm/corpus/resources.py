"""How much text exists in each language, in classes."""

# Classes 0 (left behind) to 5 (winners) of Joshi et al. 2020, "The State and Fate of Linguistic Diversity and
# Inclusion in the NLP World" (2004.09095).
CLASSES = {
    "en": 5, "de": 5, "fr": 5, "zh": 5, "es": 5, "ar": 5, "ja": 5,
    "ru": 4, "pt": 4, "it": 4, "nl": 4, "pl": 4, "tr": 4, "vi": 4, "ko": 4, "hi": 4, "fa": 4,
    "ur": 3, "id": 3, "uk": 3, "he": 3, "th": 3, "bn": 3, "ms": 3, "ka": 3,
    "ha": 2, "sw": 2, "am": 2,
    "hy": 1, "jv": 1,
}  # fmt: skip
LOW = 3
"""Languages up to this class count as low-resource (in the study: Javanese, Urdu, Hausa, Armenian)."""


def resource_weight(language: str) -> float:
    """Return a language's weight in a ``resource`` mix: its class + 1, so that every language has a share.

    A language that is not in the table counts as class 0.
    """
    return float(CLASSES.get(language.split("-", maxsplit=1)[0], 0) + 1)


def low_resource(language: str) -> bool:
    """Whether a language counts as low-resource; a language that is not in the table does."""
    return CLASSES.get(language.split("-", maxsplit=1)[0], 0) <= LOW
