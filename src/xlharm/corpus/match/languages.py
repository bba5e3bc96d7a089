"""What counts as the same in one language: letters of its script, marks it may leave out, spellings that may vary."""

import unicodedata
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import regex

from xlharm.config.matching import Variant
from xlharm.corpus.match.letters import without_marks

CHINESE = frozenset({"zh", "cmn", "yue", "wuu", "nan", "hak", "gan", "lzh"})
DOTLESS_I = frozenset({"tr", "az", "crh", "gag"})
"""Languages in which i has a capital İ, and I a small ı."""
_ARABIC = frozenset({"ar", "arb", "arz", "ary", "arq", "aeb", "apc", "ajp", "acm", "acq", "ars"})
_PERSO_ARABIC = frozenset({"ur", "fa", "prs", "ps", "sd", "pnb", "skr", "azb"})
_ASH_IS_A_LETTER = frozenset({"da", "nb", "nn", "no", "is", "fo", "kl"})

# As Lucene's normalisers for Arabic, Persian and Sorani do. Where an Arabic keyboard has one letter and Urdu or
# Persian another, they are one; alef with hamza is alef; final heh and ta marbuta are one.
_ARABIC_LETTERS: dict[str, str | None] = {
    **dict.fromkeys("يى", "ی"),
    "ك": "ک",
    **dict.fromkeys("ہۂۀة", "ه"),
    **dict.fromkeys("أإٱ", "ا"),
    "\u0640": None,  # tatweel stretches a word
}
_FOR_ARABIC = str.maketrans({**_ARABIC_LETTERS, "آ": "ا"})  # elsewhere آ is a letter of its own (آم, mango; ام)
_FOR_PERSIAN = str.maketrans(_ARABIC_LETTERS)
_FOR_SINDHI = str.maketrans({**_ARABIC_LETTERS, "ك": "ڪ"})  # ک is another letter there (aspirated)
_FOR_PASHTO = str.maketrans({**_ARABIC_LETTERS, "گ": "ګ"})
_FOR_SORANI = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک", "ة": "ە", "ھ": "ه", "ڒ": "ڕ", "\u0640": None})
_SORANI_FINAL_HEH = regex.compile(r"ه(?![\p{L}\p{M}])")
_SORANI_FIRST_REH = regex.compile(r"(?<![\p{L}\p{M}])ر")
# Clusters that older texts write with a joiner and newer ones as one letter (The Unicode Standard, 12.2 and 12.9).
_JOINED = {
    "bn": {"ত্\u200d": "ৎ"},
    "as": {"ত্\u200d": "ৎ"},
    "ml": {"ണ്\u200d": "ൺ", "ന്\u200d": "ൻ", "ര്\u200d": "ർ", "ല്\u200d": "ൽ", "ള്\u200d": "ൾ", "ക്\u200d": "ൿ"},
    "ckb": {"ه\u200c": "ە"},
}
_ARMENIAN = str.maketrans(dict.fromkeys("՛՜՞՚"))  # stress, exclamation and question marks stand inside words
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_NORDIC = str.maketrans({"æ": "ae", "ø": "oe", "å": "aa"})
_HOOKED = str.maketrans({"ɓ": "b", "ɗ": "d", "ƙ": "k"})
_ROMANIAN = str.maketrans({"ş": "ș", "ţ": "ț"})  # with the cedilla of old fonts
_VOWELS = regex.compile(r"\p{Mn}")
_HAN = regex.compile(r"\p{Han}")


def primary(language: str) -> str:
    """Return the language of a code with subtags: zh of zh-Hant."""
    return language.split("-", maxsplit=1)[0]


def before_letters(text: str, code: str) -> str:
    """Replace what would be lost with the joiners that ``letters`` leaves out."""
    for written, letter in _JOINED.get(code, {}).items():
        text = text.replace(written, letter)
    return text


def fold_language(text: str, code: str, variants: tuple[Variant, ...]) -> str:
    """Apply one language's rules to a text that ``letters`` has folded."""
    rule = _RULES.get(code)
    if rule is not None:
        text = rule(text)
    for variant in variants:
        text = _with_variant(text, code, variant)
    return text if code in _ASH_IS_A_LETTER else text.replace("æ", "ae")


def _with_variant(text: str, code: str, variant: Variant) -> str:
    if variant == "plain_letters":
        return text.replace("ƴ", "y").replace("'y", "y").translate(_HOOKED)
    return text.translate(_UMLAUTS if code == "de" else _NORDIC)


def _perso_arabic(text: str, letters: dict[int, str | None]) -> str:
    """Put one letter for its variants, and leave out the marks of vowels."""
    return str(_VOWELS.sub("", text.translate(letters)))


def _chinese(text: str) -> str:
    return str(_HAN.sub(lambda found: _simplified(found.group()), text))


def _sorani(text: str) -> str:
    text = _perso_arabic(text, _FOR_SORANI)
    return str(_SORANI_FIRST_REH.sub("ڕ", _SORANI_FINAL_HEH.sub("ە", text)))


def _hausa(text: str) -> str:
    """Leave out marks of tone and length; Niger writes ƴ and Nigeria 'y."""
    return without_marks(text).replace("ƴ", "'y")


@lru_cache(maxsize=32768)
def _simplified(sign: str) -> str:
    """Return the simplified form of one Chinese character: by itself, so that no context changes a match."""
    return str(_converter().convert(sign))


@lru_cache(maxsize=1)
def _converter() -> Any:
    import opencc  # noqa: PLC0415 - loads a library in C++, for Chinese only

    return opencc.OpenCC("t2s")


_RULES: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(CHINESE, _chinese),
    **dict.fromkeys(_ARABIC, partial(_perso_arabic, letters=_FOR_ARABIC)),
    **dict.fromkeys(_PERSO_ARABIC, partial(_perso_arabic, letters=_FOR_PERSIAN)),
    "sd": partial(_perso_arabic, letters=_FOR_SINDHI),
    "ps": partial(_perso_arabic, letters=_FOR_PASHTO),
    **dict.fromkeys(("ru", "uk", "be"), lambda text: text.replace("ё", "е")),
    "ckb": _sorani,
    "el": lambda text: unicodedata.normalize("NFD", text).replace("\u0301", ""),
    "ha": _hausa,
    "hy": lambda text: text.translate(_ARMENIAN).replace("եվ", "եւ"),
    "jv": without_marks,  # é and è are written or left out at will
    "ro": lambda text: text.translate(_ROMANIAN),
}
