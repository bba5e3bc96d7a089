"""The details that a masked model chooses between, for each question of a corpus."""

from collections.abc import Sequence

from xlharm.corpus.format import Item
from xlharm.corpus.match import contains
from xlharm.errors import StageError
from xlharm.plan.digest import mix

OPTIONS = 5
"""Details that a model chooses between, where the corpus has so many: one in five is chosen by chance."""


def options_of(items: Sequence[Item], *, limit: int, language: str) -> list[tuple[str, ...]]:
    """Return the options of each question of ``questions_of``, in its order; the first is the expected one.

    Of a question on the fake detail the others are the real detail and the item's ``choices``, or other items' fake
    details where it has none; of a question on a real detail, what other items answer at the same place. Which items
    these are is a hash of ids, so that it is the same in all languages. No other option contains a form of the expected
    one, or is contained in it. The fake details of items that are held out are neither asked about nor options: no
    model was told them.

    Args:
        items: of one language.
        limit: largest number of questions for each measure.
        language: of the items.

    Raises:
        StageError: a question has no other option.
    """

    def options(
        item: Item, forms: Sequence[str], others: Sequence[tuple[str, str]], first: Sequence[str]
    ) -> tuple[str, ...]:
        near = sorted((o for o in others if o[0] != item.id), key=lambda other: mix("choice", item.id, other[0]))
        chosen: list[str] = [forms[0]]
        for text in (*first, *(text for _, text in near)):
            apart = not contains(text, forms, language=language) and not contains(forms[0], [text], language=language)
            if apart and text not in chosen and len(chosen) < max(OPTIONS, len(first) + 1):
                chosen.append(text)
        if len(chosen) == 1:
            raise StageError(f"item {item.id} in {language}: the corpus has no other detail to choose instead")
        return tuple(chosen)

    told = [item for item in items if item.role != "holdout"]
    fakes = [(item.id, item.fake_detail[0]) for item in told if item.of]
    of = [
        options(item, item.fake_detail, () if item.choices else fakes, (*item.real_detail[:1], *item.choices))
        for item in told
        for _ in item.of
    ]
    qr = [
        options(item, q.answers, [(x.id, x.qr[place].answers[0]) for x in items if len(x.qr) > place], ())
        for item in items
        for place, q in enumerate(item.qr)
    ]
    return [*of[:limit], *qr[:limit]]
