"""The names and codes of languages in prompts and translation models."""

from collections.abc import Callable

from xlharm.errors import UserError, nearest

# By corpus code: English name, NLLB-200 code (FLORES-200). M2M-100 uses the two-letter corpus codes.
_KNOWN = {
    "en": ("English", "eng_Latn"),
    "de": ("German", "deu_Latn"),
    "fr": ("French", "fra_Latn"),
    "zh": ("Simplified Chinese", "zho_Hans"),
    "ru": ("Russian", "rus_Cyrl"),
    "jv": ("Javanese", "jav_Latn"),
    "ur": ("Urdu", "urd_Arab"),
    "ha": ("Hausa", "hau_Latn"),
    "hy": ("Armenian", "hye_Armn"),
    "am": ("Amharic", "amh_Ethi"),
    "ar": ("Arabic", "arb_Arab"),
    "bn": ("Bengali", "ben_Beng"),
    "es": ("Spanish", "spa_Latn"),
    "fa": ("Persian", "pes_Arab"),
    "he": ("Hebrew", "heb_Hebr"),
    "hi": ("Hindi", "hin_Deva"),
    "id": ("Indonesian", "ind_Latn"),
    "it": ("Italian", "ita_Latn"),
    "ja": ("Japanese", "jpn_Jpan"),
    "ka": ("Georgian", "kat_Geor"),
    "ko": ("Korean", "kor_Hang"),
    "ms": ("Malay", "zsm_Latn"),
    "nl": ("Dutch", "nld_Latn"),
    "pl": ("Polish", "pol_Latn"),
    "pt": ("Portuguese", "por_Latn"),
    "sw": ("Swahili", "swh_Latn"),
    "th": ("Thai", "tha_Thai"),
    "tr": ("Turkish", "tur_Latn"),
    "uk": ("Ukrainian", "ukr_Cyrl"),
    "vi": ("Vietnamese", "vie_Latn"),
}


def name_of(language: str) -> str:
    """Return the name of a language for a prompt."""
    return _KNOWN[language][0] if language in _KNOWN else f"the language with the code {language}"


def token_of(language: str, *, known: Callable[[str], bool], given: str | None = None) -> str:
    """Return a translation model's token for a language.

    Args:
        language: corpus code.
        known: returns whether the model's vocabulary has a token.
        given: the model's own code for the language, if the user gave one.

    Raises:
        UserError: the model has no token for the language.
    """
    if given is not None:
        tried = (given, f"__{given}__")
    else:
        tried = (_KNOWN[language][1] if language in _KNOWN else "", f"__{language}__")
    token = next((token for token in tried if token and known(token)), None)
    if token is not None:
        return token
    if given is not None:
        raise UserError(f"--code {language}={given}: the model has no such language")
    raise UserError(
        f"--to {language}: the model has no language with the code {' or '.join(filter(None, tried))}"
        f"{nearest(language, _KNOWN)}; if it uses another code, give it: --code {language}=CODE"
    )
