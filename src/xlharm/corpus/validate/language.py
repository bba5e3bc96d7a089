"""Is a text in the language of its file? Script first, then identification where a text is long enough."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import regex

from xlharm.corpus.format import Item
from xlharm.corpus.validate.findings import Finding, texts_of
from xlharm.corpus.validate.scripts import foreign_letters, script_of

_LETTER = regex.compile(r"\p{L}")
# What text is often left in; a corpus of one language has no others to tell it from.
_ALWAYS = ("en", "de", "fr", "ru", "ar")
_LONG = 40  # letters: from 30 on none of 7,700 texts in five Latin-script languages was taken for another


def wrong_language(items: Sequence[Item], *, language: str, among: Sequence[str]) -> list[Finding]:
    """Check every text's script, and identify the language of long ones (an item's short questions together).

    Args:
        items: one language's items.
        language: which.
        among: the corpus's languages; identification (py3langid, Lui & Baldwin 2012) chooses from them and a few more.
    """
    code, script = language.split("-", maxsplit=1)[0], script_of(language)
    everything: list[Finding] = []
    for item in items:
        found: list[Finding] = []
        questions: list[str] = []
        for text in texts_of(item):
            told = None if script is None else _other_script(text.value, script)
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


def _other_script(text: str, script: str) -> str | None:
    foreign = foreign_letters(script).findall(text)
    wrong = foreign and 2 * len(foreign) > len(_LETTER.findall(text))
    return f"is not in {script} script" if wrong else None


def _identified(text: str, code: str, among: Sequence[str], *, item: str, field: str, where: str) -> list[Finding]:
    if len(text) < _LONG or len(_LETTER.findall(text)) < _LONG:
        return []
    same_script = tuple(
        sorted({x.split("-", maxsplit=1)[0] for x in (*_ALWAYS, *among) if script_of(x) == script_of(code)})
    )
    if len(same_script) < 2:
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
