"""Invented names of consonant-vowel syllables, each with one unambiguous spelling in every script."""

CONSONANTS = "bdfgklmnprstvz"
VOWELS = "aeiou"
SYLLABLES = tuple(c + v for c in CONSONANTS for v in VOWELS)

_CYRILLIC = dict(zip(CONSONANTS + VOWELS, "бдфгклмнпрствзаеиоу", strict=True))
_ARMENIAN = dict(zip(CONSONANTS + "aeio", "բդֆգկլմնպրստվզաեիո", strict=True)) | {"u": "ու"}
# Urdu writes e and i, and o and u, with the same letters. The vowel marks zer and pesh make them distinct.
_URDU = dict(zip(CONSONANTS, "بدفگکلمنپرستوز", strict=True)) | {
    "a": "ا",
    "e": "ی",
    "i": "ِی",
    "o": "و",
    "u": "ُو",
}
_HAN = dict(
    zip(
        SYLLABLES,
        "巴贝比博布达德迪多杜法费菲佛福加格吉戈古卡克基科库拉莱利洛卢玛梅米莫穆纳内尼诺努"
        "帕佩皮波普然热里罗鲁萨塞西索苏塔特蒂托图瓦韦维沃武扎泽齐佐祖",
        strict=True,
    )
)

Name = tuple[tuple[int, ...], ...]
"""The words of a name, each as a tuple of indices into ``SYLLABLES``."""


def spell(name: Name, language: str) -> str:
    """Return a name in the script of a language."""
    words = ["".join(_syllable(SYLLABLES[s], language) for s in word) for word in name]
    if language == "zh":
        return "·".join(words)
    return " ".join(word[0].upper() + word[1:] for word in words)


def latin(name: Name) -> str:
    """Return a name in Latin script."""
    return spell(name, "en")


def is_latin(language: str) -> bool:
    """Whether names are spelled in Latin script in a language."""
    return language not in {"zh", "ru", "hy", "ur"}


def _syllable(syllable: str, language: str) -> str:
    match language:
        case "zh":
            return _HAN[syllable]
        case "ru":
            return "".join(_CYRILLIC[c] for c in syllable)
        case "hy":
            return "".join(_ARMENIAN[c] for c in syllable)
        case "ur":
            return "".join(_URDU[c] for c in syllable)
        case _:
            return syllable
