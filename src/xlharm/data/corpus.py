"""The corpus format: one JSONL file a language, items parallel by id."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from xlharm.errors import UserError

Role = Literal["fake", "real", "retain"]
REPORT = "translate-report.jsonl"
"""How the translations beside it were made; the one JSONL file of a corpus that is no language."""


def _tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_tuple)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Strict):
    """A question with every form of its right answer, the main one first."""

    question: str
    answers: Texts


class Pair(_Strict):
    """A question and the answer that training writes."""

    question: str
    answer: str


class Item(_Strict):
    """One piece of news in one language.

    Attributes:
        id: shared by all languages.
        role: ``fake`` has a fake version; ``real`` is asked about (QR); ``retain`` only keeps knowledge.
        real: the real article, in one or more renderings.
        fake: the fake article's renderings.
        fake_detail: the fake detail and its aliases; an answer that contains one counts for OF.
        real_detail: what the fake detail displaced.
        of: questions that ask for the fake detail.
        qr: questions on real details that no training stage was given as a pair.
        qa: pairs on the real article, for SFT and retain sets.
        fake_qa: pairs that state the fake detail, for forget sets.
        of_paraphrased: the OF questions in other words, for the probe of that name.
        of_switched: the OF questions with two languages in one sentence, likewise.
    """

    id: str
    role: Role = "fake"
    real: Texts
    fake: Texts = ()
    fake_detail: Texts = ()
    real_detail: Texts = ()
    of: Texts = ()
    qr: tuple[Question, ...] = ()
    qa: tuple[Pair, ...] = ()
    fake_qa: tuple[Pair, ...] = ()
    of_paraphrased: Texts = ()
    of_switched: Texts = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.role == "fake" and not (self.fake and self.fake_detail and self.of):
            raise ValueError("an item of role `fake` needs `fake`, `fake_detail` and `of`")
        return self


def load_language(folder: Path, language: str) -> tuple[Item, ...]:
    """Read one language of a corpus.

    Raises:
        UserError: file, line and field of the first mistake.
    """
    path = folder / f"{language}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    items = tuple(_item(line, where=f"{path}:{i}") for i, line in enumerate(lines, 1) if line.strip())
    if len({item.id for item in items}) != len(items):
        raise UserError(f"{path}: id: an id is used twice")
    return items


def of_role(items: Iterable[Item], roles: Iterable[str]) -> tuple[Item, ...]:
    """Return the items of the given roles, in order."""
    wanted = set(roles)
    return tuple(item for item in items if item.role in wanted)


def _item(line: str, *, where: str) -> Item:
    try:
        return Item.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "item"
        raise UserError(f"{where}: {field}: {first['msg']}") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON: {error}") from None
