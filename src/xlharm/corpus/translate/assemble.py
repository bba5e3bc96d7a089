"""Cuts an item into sentences for a translation model, and assembles the translated item from their translations."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xlharm.corpus.format import Item
from xlharm.corpus.translate.backend import LEFT, TranslationOutcome, item_of
from xlharm.corpus.translate.details import located
from xlharm.corpus.translate.sentences import Piece, clean, join, sentences
from xlharm.corpus.validate.findings import texts_of

_NEAR = 0.5  # similarity from which two sentences count as versions of each other
_FINAL = ".。۔։!?！？،,;； "


class UnfinishedError(ValueError):
    """A model did not finish the translation of a sentence."""


Translator = Callable[[str], str]
"""A function that returns the translation of a sentence.

Raises:
    UnfinishedError: the model did not finish the translation.
"""


def wanted(item: Item) -> Iterator[str]:
    """Yield the sentences of an item; sentences that real and fake articles share are yielded for each."""
    for text in texts_of(item):
        if not text.field.startswith(LEFT):
            yield from (piece.text for piece in sentences(text.value))


def assembled(item: Item, *, translate: Translator, language: str) -> TranslationOutcome:
    """Assemble a translated item from the translations of its sentences, find its detail, and check it.

    Sentences that real and fake articles share in English have the same translation in both.

    Args:
        item: the English item.
        translate: returns the translation of each of its sentences.
        language: language of the translations.
    """
    try:
        fields = _translated_fields(item.model_dump(mode="json", exclude={"id", "role", *LEFT}), translate, language)
        if item.fake:
            fields |= _details(item, fields, translate=translate, language=language)
    except UnfinishedError as error:
        return TranslationOutcome(id=item.id, problem="cut", reason=str(error))
    return item_of(fields, english=item, language=language)


def text_in(text: str, *, translate: Translator, language: str) -> str:
    """Translate a text sentence by sentence; a text without final punctuation gets none."""
    whole = join([Piece(translate(piece.text), piece.gap) for piece in sentences(text)], language=language)
    whole = clean(whole, language=language)
    return whole if text.rstrip()[-1:] in _FINAL else whole.rstrip(_FINAL) or whole


def _translated_fields(value: Any, translate: Translator, language: str) -> Any:
    if isinstance(value, str):
        return text_in(value, translate=translate, language=language)
    if isinstance(value, list):
        return [_translated_fields(entry, translate, language) for entry in value]
    return {name: _translated_fields(entry, translate, language) for name, entry in value.items()}


def _details(item: Item, fields: dict[str, Any], *, translate: Translator, language: str) -> dict[str, Any]:
    pairs = [
        (clean(translate(real), language=language), clean(translate(fake), language=language))
        for text in item.fake
        for real, fake in _versions(item.real, text)
    ]
    detail = located(
        fake_forms=fields["fake_detail"], real_forms=fields["real_detail"], real=fields["real"], fake=fields["fake"],
        questions=(*fields["of"], *fields["of_paraphrased"]), pairs=pairs, language=language,
    )  # fmt: skip
    return {"fake_detail": detail.fake, "real_detail": detail.real}


def _versions(real: Sequence[str], fake: str) -> Iterator[tuple[str, str]]:
    """Yield pairs (sentence of the real articles, changed version of it in a fake article)."""
    own = [piece.text for text in real for piece in sentences(text)]
    for piece in sentences(fake):
        near = difflib.get_close_matches(piece.text, own, n=1, cutoff=_NEAR) if piece.text not in own else []
        yield from ((match, piece.text) for match in near)
