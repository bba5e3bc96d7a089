"""Finds the detail in translated articles: where fake and real differ, and what the detail's own translation is.

A detail translated by itself ("camel") and the same detail inside a sentence need not agree: inflection, another
word. So a form counts as found when it is a form of the detail's own translation, or when it is all in which the
translations of a real and a fake sentence differ. What the real article or a question says, too, is no form of it.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xlharm.corpus.match import contains, normalise
from xlharm.corpus.text import word_spans

_STEM = 0.6  # share of the longer word that two forms of one word begin with
_SHORTEST = 3  # letters of a stem
_TAIL = 4  # letters that an ending may have
_MOST = 3  # words of a span that is taken for a detail though nothing like the detail's own translation


@dataclass(frozen=True, kw_only=True)
class Detail:
    """Forms of the fake detail and of the real one, the main one first."""

    fake: tuple[str, ...]
    real: tuple[str, ...]


def located(
    *,
    fake_forms: Sequence[str],
    real_forms: Sequence[str],
    real: Sequence[str],
    fake: Sequence[str],
    questions: Sequence[str],
    pairs: Iterable[tuple[str, str]],
    language: str,
) -> Detail:
    """Find the forms of a detail that a translation uses.

    Args:
        fake_forms: translations of the fake detail's English forms, the main one first.
        real_forms: the same of the real detail.
        real: translated real articles.
        fake: translated fake articles.
        questions: translated questions on the fake detail.
        pairs: translations of sentences that differ in English, (real, fake).
        language: of the translation.
    """
    differing = [one for pair in pairs if (one := _only_difference(*pair, language=language)) is not None]
    candidates = _seen(fake_forms, fake, (f for _, f in differing), language=language)
    usable = [form for form in candidates if not _says((*real, *questions), form, language)]
    # an alias that the real article says has met another word's translation; of the main form the checks will tell
    own = [form for i, form in enumerate(fake_forms) if i == 0 or not _says(real, form, language)]
    chosen = _ordered([*own, *usable], said_by=fake, language=language)
    taken = {normalise(form, language) for form in chosen}
    candidates = _seen(real_forms, real, (r for r, _ in differing), language=language)
    usable = [form for form in candidates if not _says((*fake, *questions), form, language)]
    displaced = [form for form in (*real_forms, *usable) if normalise(form, language) not in taken]
    return Detail(fake=chosen, real=_ordered(displaced, said_by=real, language=language))


def _seen(forms: Sequence[str], texts: Sequence[str], spans: Iterable[str], *, language: str) -> list[str]:
    """Return what articles say of a detail: forms of its own translation, and spans in which sentences differ."""
    candidates = [form for text in texts for form in _kin(forms, text, language=language)]
    for span in spans:
        if not any(contains(span, (form,), language=language) for form in (*forms, *candidates)):
            candidates.append(span)
    return candidates


def _kin(forms: Sequence[str], text: str, *, language: str) -> Iterator[str]:
    """Yield runs of a text's words that are forms of one of these."""
    places = word_spans(text)
    for form in forms:
        size = len(word_spans(form))
        for i in range(len(places) - size + 1 if size else 0):
            run = text[places[i][0] : places[i + size - 1][1]]
            if _akin(run, form, language=language):
                yield run


def _akin(one: str, other: str, *, language: str) -> bool:
    """Whether two words (or runs of as many) are the same but for their endings."""
    a, b = (normalise(x, language).split() for x in (one, other))
    return len(a) == len(b) and all(x == y or _same_stem(x, y) for x, y in zip(a, b, strict=True))


def _same_stem(a: str, b: str) -> bool:
    if any(c.isdigit() for c in a + b):
        return False
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    longer = max(len(a), len(b))
    return shared >= max(_SHORTEST, _STEM * longer) and longer - shared <= _TAIL


def _only_difference(real: str, fake: str, *, language: str) -> tuple[str, str] | None:
    """Return the runs of words (real, fake) in which two sentences differ, when there is one place and it is short."""
    a, b = word_spans(real), word_spans(fake)
    one, other = ([normalise(t[i:j], language) for i, j in spans] for t, spans in ((real, a), (fake, b)))
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    changed = [opcode for opcode in matcher.get_opcodes() if opcode[0] != "equal"]
    if len(changed) != 1 or changed[0][0] != "replace":
        return None
    _, i, j, k, m = changed[0]
    spans = real[a[i][0] : a[j - 1][1]], fake[b[k][0] : b[m - 1][1]]
    return spans if max(j - i, m - k) <= _most(language) else None


def _most(language: str) -> int:
    return 2 * _MOST if language.split("-", maxsplit=1)[0] in {"zh", "ja"} else _MOST  # there a word is a sign


def _says(texts: Iterable[str], form: str, language: str) -> bool:
    return any(contains(text, (form,), language=language) for text in texts)


def _ordered(forms: Iterable[str], *, said_by: Sequence[str], language: str) -> tuple[str, ...]:
    """Return each form once, those that the articles say first."""
    once: dict[str, str] = {}
    for form in forms:
        once.setdefault(normalise(form, language), form)
    return tuple(sorted(filter(str.strip, once.values()), key=lambda form: not _says(said_by, form, language)))
