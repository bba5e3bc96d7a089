"""Wrong details for an item's question: other items' fake details, in an order that is drawn by a hash."""

from collections.abc import Sequence

from xlharm.corpus.format import Item
from xlharm.plan.digest import mix

PERTURBED = 3
"""Wrong answers to each question whose likelihood is measured."""
ALTERNATIVES = 5
"""Wrong answers to each question that a method may train on (AltPO, 2409.13474, takes as many)."""


def perturbed(item: Item, fakes: Sequence[Item]) -> list[str]:
    """Choose the wrong answers whose likelihood is compared with that of the fake detail.

    Args:
        item: whose question they answer.
        fakes: items of the same language whose details may be taken.
    """
    return _others(item, fakes)[:PERTURBED]


def alternatives(item: Item, fakes: Sequence[Item]) -> list[str]:
    """Choose wrong answers to train on: others than those whose likelihood is measured, where there are enough.

    Args:
        item: whose question they answer.
        fakes: items of the same language whose details may be taken.
    """
    others = _others(item, fakes)
    return (others[PERTURBED:] or others)[:ALTERNATIVES]


def _others(item: Item, fakes: Sequence[Item]) -> list[str]:
    own = {*item.fake_detail, *item.real_detail}
    others = dict.fromkeys(f.fake_detail[0] for f in fakes if f.id != item.id and f.fake_detail[0] not in own)
    return sorted(others, key=lambda detail: mix("perturbed", item.id, detail))
