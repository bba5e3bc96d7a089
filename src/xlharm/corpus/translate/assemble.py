"""From an item to the sentences that a translation model is given, and back to an item."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xlharm.corpus.format import Item
from xlharm.corpus.translate.backend import LEFT, Translated, item_of
from xlharm.corpus.translate.details import located
from xlharm.corpus.translate.sentences import Piece, clean, join, sentences
from xlharm.corpus.validate.findings import texts_of

_NEAR = 0.5  # likeness of two sentences that are versions of one
_FINAL = ".。۔։!?！？،,;； "


class CutError(ValueError):
    """A model did not come to the end of a sentence."""


Tell = Callable[[str], str]
"""The translation of a sentence.

Raises:
    CutError: there is none.
"""


def wanted(item: Item) -> Iterator[str]:
    """Yield the sentences of an item; those that real and fake share come out once when they are collected."""
    for text in texts_of(item):
        if not text.field.startswith(LEFT):
            yield from (piece.text for piece in sentences(text.value))


def assembled(item: Item, *, tell: Tell, language: str) -> Translated:
    """Put an item together from its sentences' translations, find its detail, and check it.

    The fake article is the real one's translation but for the sentences that differ in English.

    Args:
        item: in English.
        tell: translations of its sentences.
        language: of the translations.
    """
    try:
        told = _translated(item.model_dump(mode="json", exclude={"id", "role", *LEFT}), tell, language)
        if item.fake:
            told |= _details(item, told, tell=tell, language=language)
    except CutError as error:
        return Translated(id=item.id, problem="cut", reason=str(error))
    return item_of(told, english=item, language=language)


def text_in(text: str, *, tell: Tell, language: str) -> str:
    """Translate a text sentence by sentence; a phrase without a full stop gets none."""
    whole = join([Piece(tell(piece.text), piece.gap) for piece in sentences(text)], language=language)
    whole = clean(whole, language=language)
    return whole if text.rstrip()[-1:] in _FINAL else whole.rstrip(_FINAL) or whole


def _translated(value: Any, tell: Tell, language: str) -> Any:
    if isinstance(value, str):
        return text_in(value, tell=tell, language=language)
    if isinstance(value, list):
        return [_translated(entry, tell, language) for entry in value]
    return {name: _translated(entry, tell, language) for name, entry in value.items()}


def _details(item: Item, told: dict[str, Any], *, tell: Tell, language: str) -> dict[str, Any]:
    pairs = [
        (clean(tell(real), language=language), clean(tell(fake), language=language))
        for text in item.fake
        for real, fake in _versions(item.real, text)
    ]
    found = located(
        fake_forms=told["fake_detail"], real_forms=told["real_detail"], real=told["real"], fake=told["fake"],
        questions=(*told["of"], *told["of_paraphrased"]), pairs=pairs, language=language,
    )  # fmt: skip
    return {"fake_detail": found.fake, "real_detail": found.real}


def _versions(real: Sequence[str], fake: str) -> Iterator[tuple[str, str]]:
    """Pair the sentences of a fake article that no real one has with those that they are a version of."""
    own = [piece.text for text in real for piece in sentences(text)]
    for piece in sentences(fake):
        near = difflib.get_close_matches(piece.text, own, n=1, cutoff=_NEAR) if piece.text not in own else []
        yield from ((match, piece.text) for match in near)
