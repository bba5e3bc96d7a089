"""Is a text in the language of its file? Script first, then identification where a text is long enough."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import regex

from xlharm.data.corpus import Item
from xlharm.data.validate.findings import Finding, texts_of

_SCRIPTS = {
    "ru": "Cyrillic", "uk": "Cyrillic", "be": "Cyrillic", "bg": "Cyrillic", "sr": "Cyrillic", "kk": "Cyrillic",
    "zh": "Han", "ur": "Arabic", "ar": "Arabic", "fa": "Arabic", "ps": "Arabic", "sd": "Arabic", "hy": "Armenian",
    "hi": "Devanagari", "mr": "Devanagari", "ne": "Devanagari", "bn": "Bengali", "ka": "Georgian", "el": "Greek",
    "he": "Hebrew", "th": "Thai", "am": "Ethiopic", "ko": "Hangul", "ta": "Tamil", "te": "Telugu",
}  # fmt: skip
# Languages in scripts of which xlharm knows too little to judge.
_UNKNOWN = {"ja", "ti", "my", "km", "lo", "si", "gu", "pa", "kn", "ml", "or", "mn", "tg", "ky", "mk", "ug", "ckb"}
_LETTER = regex.compile(r"\p{L}")
_LONG = 40  # letters: from 30 on none of 7,700 texts in five Latin-script languages was taken for another


def wrong_language(items: Sequence[Item], *, language: str, among: Sequence[str]) -> list[Finding]:
    """Check every text's script, and identify the language of long ones (an item's short questions together).

    Args:
        items: one language's items.
        language: which.
        among: the corpus's languages; identification chooses from them (py3langid, Lui & Baldwin 2012).
    """
    code = language.split("-", maxsplit=1)[0]
    everything: list[Finding] = []
    for item in items:
        found: list[Finding] = []
        questions: list[str] = []
        for text in texts_of(item):
            told = None if code in _UNKNOWN else _other_script(text.value, code)
            if told:
                severity: Any = "warning" if text.kind == "detail" else "error"
                found.append(Finding(severity, language, item.id, text.field, told))
            elif text.kind != "detail" and not text.field.startswith("of_switched"):
                found += _identified(text.value, code, among, item=item.id, field=text.field, where=language)
                questions += [text.value] if text.kind == "question" else []
        if not found:  # questions too short to judge alone
            found += _identified(" ".join(questions), code, among, item=item.id, field="of, qr, qa", where=language)
        everything += found
    return everything


def _other_script(text: str, code: str) -> str | None:
    letters = _LETTER.findall(text)
    script = _SCRIPTS.get(code, "Latin")
    right = sum(1 for c in letters if _of_script(c, script))
    return f"is not in {script} script" if letters and right * 2 < len(letters) else None


@lru_cache(maxsize=65536)
def _of_script(letter: str, script: str) -> bool:
    return bool(regex.match(rf"[\p{{{script}}}\p{{Script=Common}}]", letter))


def _identified(text: str, code: str, among: Sequence[str], *, item: str, field: str, where: str) -> list[Finding]:
    known = tuple(sorted({"en", *(lang.split("-", maxsplit=1)[0] for lang in among)}))
    same_script = tuple(x for x in known if _SCRIPTS.get(x, "Latin") == _SCRIPTS.get(code, "Latin"))
    if len(same_script) < 2 or len(_LETTER.findall(text)) < _LONG:
        return []
    identifier = _identifier(same_script)
    if code not in identifier.nb_classes:
        return []
    said = str(identifier.classify(text)[0])
    if said == code:
        return []
    return [Finding("error", where, item, field, f"looks like {said}, not {code}")]


@lru_cache(maxsize=8)
def _identifier(languages: tuple[str, ...]) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - loads a model of 5 MB

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages([lang for lang in languages if lang in identifier.nb_classes])
    return identifier
