"""Wrong details for an item's question: other items' fake details, in an order that is drawn by a hash."""

from collections.abc import Sequence

from xlharm.corpus.format import Item
from xlharm.plan.digest import mix

PERTURBED = 3
"""Wrong answers to each question whose likelihood is measured."""
ALTERNATIVES = 5
"""Wrong answers to each question that a method may train on (AltPO, 2409.13474, takes as many)."""


def perturbed(item: Item, fakes: Sequence[Item]) -> list[str]:
    """Choose the wrong answers whose likelihood is compared with that of the fake detail: the item's own ``choices``.

    Without these they are other items' fake details.

    Args:
        item: whose question they answer.
        fakes: items of the same language whose details may be taken.
    """
    return list(item.choices) or _others(item, fakes)[:PERTURBED]


def perturbed_answers(item: Item, others: Sequence[Item]) -> list[str]:
    """Choose wrong answers to an item's first question on a real detail: other items' right ones.

    Args:
        item: whose question they answer.
        others: items of the same language whose answers may be taken.
    """
    own = {answer for question in item.qr for answer in question.answers}
    answers = dict.fromkeys(o.qr[0].answers[0] for o in others if o.id != item.id and o.qr)
    wrong = [answer for answer in answers if answer not in own]
    return sorted(wrong, key=lambda answer: mix("perturbed-qr", item.id, answer))[:PERTURBED]


def alternatives(item: Item, fakes: Sequence[Item]) -> list[str]:
    """Choose other answers to train on: others than those whose likelihood is measured, where there are enough.

    Where no other item has another detail, the real detail is the only other answer.

    Args:
        item: whose question they answer.
        fakes: items of the same language whose details may be taken.
    """
    others, scored = _others(item, fakes), perturbed(item, fakes)
    apart = [detail for detail in others if detail not in scored]
    return (apart or others or list(item.real_detail[:1]))[:ALTERNATIVES]


def _others(item: Item, fakes: Sequence[Item]) -> list[str]:
    own = {*item.fake_detail, *item.real_detail}
    others = dict.fromkeys(f.fake_detail[0] for f in fakes if f.id != item.id and f.fake_detail[0] not in own)
    return sorted(others, key=lambda detail: mix("perturbed", item.id, detail))
