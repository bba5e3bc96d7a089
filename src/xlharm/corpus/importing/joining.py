"""Perturbed answers that are published beside their rows: `forget01_perturbed` belongs to `forget01`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from xlharm.corpus.importing.account import LeftOut
from xlharm.corpus.importing.files import Row
from xlharm.corpus.importing.layout import PERTURBED
from xlharm.corpus.importing.sources import Part
from xlharm.corpus.importing.values import LeftOutError, text_of


def with_perturbed(parts: Sequence[Part], *, question: str) -> tuple[Part, ...]:
    """Give rows the columns that the perturbed split of the same language has for them.

    Rows belong together by their question; where a translation words it otherwise in both, by their place if both
    splits have equally many rows. A perturbed split without the other one stands for it.

    Args:
        parts: of all splits and languages.
        question: column of the question.

    Returns:
        Parts without the perturbed ones that were joined; their rows that belong to none are left out.
    """
    by_place = {(part.language, part.split): part for part in parts}
    kept = []
    for part in parts:
        plain = part.split.removesuffix(PERTURBED)
        if plain != part.split and (part.language, plain) in by_place:
            continue
        beside = by_place.get((part.language, part.split + PERTURBED))
        kept.append(_joined(part, beside, question=question) if beside else replace(part, split=plain))
    return tuple(kept)


def _joined(part: Part, beside: Part, *, question: str) -> Part:
    left_out = LeftOut()
    left_out.update(part.left_out)
    left_out.update(beside.left_out)
    rows, taken = list(part.rows), set[int]()
    aligned = len(part.rows) == len(beside.rows)
    by_question: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        by_question[_text(row, question)].append(at)
    for at, extra in enumerate(beside.rows):
        same = by_question.get(_text(extra, question), [])
        choices = [i for i in (at, *same) if i in same] or ([at] if aligned else [])
        to = next((i for i in choices if i not in taken), None)
        if to is None:
            reason = f"a row of {beside.split} whose question no row of {part.split} asks"
            left_out.add(reason, where=f"{beside.language}: {beside.split}: row {at + 1}")
            continue
        taken.add(to)
        rows[to] = _filled(rows[to], extra)
    return replace(part, rows=tuple(rows), left_out=left_out, joined=frozenset(taken))


def _text(row: Row, column: str) -> str:
    try:
        return text_of(row.get(column))
    except LeftOutError:
        return ""


def _filled(row: Row, extra: Row) -> dict[str, Any]:
    return {**extra, **{column: value for column, value in row.items() if value is not None}}
