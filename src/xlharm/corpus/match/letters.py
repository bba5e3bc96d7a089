"""What counts as the same letter in every language: by Unicode's data, and marks that writers may leave out."""

import unicodedata

import regex

# Soft hyphens, zero-width spaces, marks of direction, variation selectors. A joiner stays after a virama and before a
# letter: there it chooses between two shapes of a cluster (RFC 5892, A.1). Elsewhere it is a matter of typesetting.
_JOINERS = "\u200c\u200d"
_IGNORED = regex.compile(
    rf"[\p{{Default_Ignorable_Code_Point}}--[{_JOINERS}]]|(?<!\p{{ccc=9}})[{_JOINERS}]|[{_JOINERS}](?!\p{{L}})",
    regex.V1,
)
# A raised digit is an exponent and a fraction sign follows a whole number: neither makes the number before it longer.
_RAISED = regex.compile(r"(?<=\p{Nd})(?=\p{No})")
_FULL_WIDTH_COMMA = regex.compile(r"(?<=[0-9])，(?=[0-9])")  # a comma of the sentence, when the digits are not wide
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("’‘ʼʻ`´׳", "'"),
        "״": '"',
        **dict.fromkeys("•‧∙⋅・･", "·"),  # between the parts of a name
    }
)
_DASH = regex.compile("[\\p{Pd}\u2212\u2043]")
_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)
_LIGATURES = str.maketrans({"œ": "oe"})
_HEBREW_POINTS = regex.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]")
_DOTTED_I = regex.compile("i\u0307+")  # İ in lower case, where that is no letter of its own
_CYRILLIC = regex.compile(r"\p{Cyrillic}")
_ACUTE = "\u0301"
_STRESS = f"\u0300{_ACUTE}\u030f\u0311"


def fold_letters(text: str, *, dotless_i: bool) -> str:
    """Fold letters, digits and signs as NFKC and full case folding say, without marks of stress and invisible signs.

    Args:
        text: any text.
        dotless_i: whether I and ı are one letter and İ and i another, as in Turkish (Unicode's case folding "T").
    """
    text = _FULL_WIDTH_COMMA.sub(", ", _without_ignored(text).translate(_SIGNS))
    text = _without_ignored(unicodedata.normalize("NFKC", _RAISED.sub("^", text)))
    if dotless_i:
        text = text.replace("İ", "i").replace("I", "ı")
    text = unicodedata.normalize("NFKC", text.casefold()).translate(_LIGATURES)
    if text.isascii():
        return text
    text = _DASH.sub("-", text.translate(_SIGNS))
    text = _DIGIT.sub(lambda found: str(unicodedata.decimal(found.group(), found.group())), text)
    return _without_stress(_HEBREW_POINTS.sub("", text))


def without_marks(text: str) -> str:
    """Take every combining mark off a text."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def composed(text: str) -> str:
    """Compose a text (NFC) that rules have taken signs out of; no i has a second dot."""
    # a joiner may have lost the virama before it
    text = unicodedata.normalize("NFC", _without_ignored(text))
    return unicodedata.normalize("NFC", _DOTTED_I.sub("i", text))


def _without_ignored(text: str) -> str:
    """Take invisible signs out of a text."""
    return text if text.isascii() else _IGNORED.sub("", text)


def _without_stress(text: str) -> str:
    """Take marks of stress and tone off Cyrillic letters; ѓ and ќ are letters, as are й, ё and ї."""
    if not _CYRILLIC.search(text):
        return text
    kept, base = [], ""
    for c in unicodedata.normalize("NFD", text):
        if not unicodedata.combining(c):
            base = c
        elif c in _STRESS and _CYRILLIC.match(base) and not (c == _ACUTE and base in "гк"):
            continue
        kept.append(c)
    return unicodedata.normalize("NFC", "".join(kept))
