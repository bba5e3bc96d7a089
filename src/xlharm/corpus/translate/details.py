"""Finds the forms of the fake and real detail in translated articles.

The translation of a detail alone ("camel") and of the same detail in a sentence may differ, by inflection or by the
word chosen. So a run of words counts as a form of the detail if it is an inflection of the detail's own translation,
or if it is the only difference between the translations of a real and a fake sentence. Words that also occur in the
real article or in a question are not forms of the fake detail.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xlharm.corpus.match import contains, normalise
from xlharm.corpus.text import word_spans

_STEM = 0.6  # two words are forms of one if their common beginning has this share of the longer word
_SHORTEST = 3  # fewest letters of that beginning
_TAIL = 4  # most letters after it
_MOST = 3  # most words of a difference between sentences that counts as a form of the detail


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
        real_forms: translations of the real detail's English forms, the main one first.
        real: translated real articles.
        fake: translated fake articles.
        questions: translated questions about the fake detail.
        pairs: translations (real, fake) of sentences that differ in English.
        language: language of the translation.
    """
    differing = [one for pair in pairs if (one := _only_difference(*pair, language=language)) is not None]
    candidates = _detail_forms(fake_forms, fake, (f for _, f in differing), language=language)
    usable = [form for form in candidates if not _occurs((*real, *questions), form, language)]
    # Leave out an alias that occurs in the real article: it has the translation of another word. The main form stays,
    # and later checks report it.
    own = [form for i, form in enumerate(fake_forms) if i == 0 or not _occurs(real, form, language)]
    chosen = _ordered([*own, *usable], articles=fake, language=language)
    taken = {normalise(form, language) for form in chosen}
    candidates = _detail_forms(real_forms, real, (r for r, _ in differing), language=language)
    usable = [form for form in candidates if not _occurs((*fake, *questions), form, language)]
    displaced = [form for form in (*real_forms, *usable) if normalise(form, language) not in taken]
    return Detail(fake=chosen, real=_ordered(displaced, articles=real, language=language))


def _detail_forms(forms: Sequence[str], texts: Sequence[str], spans: Iterable[str], *, language: str) -> list[str]:
    """Return the forms of a detail in articles: inflections of its translation, and spans in which sentences differ."""
    candidates = [form for text in texts for form in _inflections(forms, text, language=language)]
    for span in spans:
        if not any(contains(span, (form,), language=language) for form in (*forms, *candidates)):
            candidates.append(span)
    return candidates


def _inflections(forms: Sequence[str], text: str, *, language: str) -> Iterator[str]:
    """Yield the runs of words in a text that are inflections of one of ``forms``."""
    places = word_spans(text)
    for form in forms:
        size = len(word_spans(form))
        for i in range(len(places) - size + 1 if size else 0):
            run = text[places[i][0] : places[i + size - 1][1]]
            if _same_but_endings(run, form, language=language):
                yield run


def _same_but_endings(one: str, other: str, *, language: str) -> bool:
    """Whether two words, or two runs of equally many words, differ only in their endings."""
    a, b = (normalise(x, language).split() for x in (one, other))
    return len(a) == len(b) and all(x == y or _same_stem(x, y) for x, y in zip(a, b, strict=True))


def _same_stem(a: str, b: str) -> bool:
    if any(c.isdigit() for c in a + b):
        return False
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    longer = max(len(a), len(b))
    return shared >= max(_SHORTEST, _STEM * longer) and longer - shared <= _TAIL


def _only_difference(real: str, fake: str, *, language: str) -> tuple[str, str] | None:
    """Return the runs of words (real, fake) in which two sentences differ, if they differ in one short run only."""
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
    return 2 * _MOST if language.split("-", maxsplit=1)[0] in {"zh", "ja"} else _MOST  # there each character is a word


def _occurs(texts: Iterable[str], form: str, language: str) -> bool:
    return any(contains(text, (form,), language=language) for text in texts)


def _ordered(forms: Iterable[str], *, articles: Sequence[str], language: str) -> tuple[str, ...]:
    """Return each form once; forms that occur in the articles come first."""
    once: dict[str, str] = {}
    for form in forms:
        once.setdefault(normalise(form, language), form)
    return tuple(sorted(filter(str.strip, once.values()), key=lambda form: not _occurs(articles, form, language)))
