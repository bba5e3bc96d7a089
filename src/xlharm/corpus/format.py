"""The corpus format: one JSONL file (or `save_to_disk` folder) a language, items parallel by id."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from xlharm.corpus.folder import SCHEMA, language_path, saved_tables
from xlharm.errors import UserError
from xlharm.plain_files import parse_json, read_text
from xlharm.plan.digest import mix

Role = Literal["fake", "real", "retain", "holdout"]
REPORT = "translate-report.jsonl"
"""How the translations beside it were made; the one JSONL file of a corpus that is no language."""


def _tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise PydanticCustomError("texts", "expected a text or a list of texts")
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_tuple, json_schema_input_type=str | tuple[str, ...])]


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


# What `_complete` checks, for those who read the schema.
_FAKE_NEEDS: dict[str, Any] = {
    "if": {"properties": {"role": {"enum": ["fake", "holdout"]}}},
    "then": {"required": ["fake", "fake_detail", "of"]},
}


class Item(_Strict):
    """One piece of news in one language."""

    model_config = ConfigDict(json_schema_extra={"$id": f"urn:xlharm:corpus:{SCHEMA}", **_FAKE_NEEDS})

    id: Annotated[str, Field(description="shared by all languages")]
    role: Annotated[
        Role,
        Field(
            description="fake: has a fake version; real: is asked about (QR); retain: only keeps knowledge; "
            "holdout: as fake, but its fake version is only scored, never trained on or asked about"
        ),
    ] = "fake"
    real: Annotated[Texts, Field(description="the real article, in one or more renderings")]
    fake: Annotated[Texts, Field(description="the fake article's renderings")] = ()
    fake_detail: Annotated[
        Texts, Field(description="the fake detail and its aliases; an answer that contains one counts for OF")
    ] = ()
    real_detail: Annotated[Texts, Field(description="what the fake detail displaced, and its aliases")] = ()
    choices: Annotated[
        Texts,
        Field(
            description="wrong answers to `of`, to choose from beside both details; default: other items' fake details"
        ),
    ] = ()
    of: Annotated[Texts, Field(description="questions that ask for the fake detail")] = ()
    qr: Annotated[
        tuple[Question, ...], Field(description="questions on real details that no training stage was given as a pair")
    ] = ()
    qa: Annotated[tuple[Pair, ...], Field(description="pairs on the real article, for SFT and retain sets")] = ()
    fake_qa: Annotated[tuple[Pair, ...], Field(description="pairs that state the fake detail, for forget sets")] = ()
    of_paraphrased: Annotated[
        Texts, Field(description="the OF questions in other words, for the probe of that name")
    ] = ()
    of_switched: Annotated[
        Texts, Field(description="the OF questions with two languages in one sentence, likewise")
    ] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.role in {"fake", "holdout"} and not (self.fake and self.fake_detail and self.of):
            raise ValueError(f"an item of role `{self.role}` needs `fake`, `fake_detail` and `of`")
        return self


def load_language(folder: Path, language: str) -> tuple[Item, ...]:
    """Read one language of a corpus.

    Raises:
        UserError: file, line and field of the first mistake.
    """
    path = language_path(folder, language)
    if path is None:
        raise UserError(f"{folder / language}.jsonl: cannot be read: no such file")
    items = tuple(_item(raw, where=f"{path}:{where}") for where, raw in raw_items(path))
    if len({item.id for item in items}) != len(items):
        raise UserError(f"{path}: id: an id is used twice")
    return items


def raw_items(path: Path) -> list[tuple[int, Any]]:
    """Return a language's items with their line (or row), as JSON text or as plain data.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        if path.is_dir():
            return list(enumerate((row for table in saved_tables(path) for row in _rows(table)), 1))
        lines = read_text(path).split("\n")  # not splitlines: U+2028 may stand in a text
        return [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _rows(table: Path) -> list[Any]:
    """Read an Arrow table."""
    import pyarrow as pa  # noqa: PLC0415 - for saved folders only

    with pa.memory_map(str(table)) as source:
        return list(pa.ipc.open_stream(source).read_all().to_pylist())


def _without_nulls(value: Any) -> Any:
    """Leave out what is null: in an Arrow table every field that a row lacks."""
    if isinstance(value, dict):
        return {key: _without_nulls(entry) for key, entry in value.items() if entry is not None}
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value


def parse(raw: Any) -> Item:
    """Make an item of one line's JSON text, or of plain data; fields that are null are absent.

    Raises:
        ValidationError: a field is wrong.
        ValueError: the text is not JSON.
    """
    return Item.model_validate(_without_nulls(parse_json(raw) if isinstance(raw, str) else raw))


def hold_out(items: tuple[Item, ...], count: int) -> tuple[Item, ...]:
    """Return items of one language with ``count`` of the fake ones held out, by a hash of ids.

    Raises:
        UserError: too few fake items would be left.
    """
    fakes = sorted((item.id for item in items if item.role == "fake"), key=lambda name: mix("holdout", name))
    if count and count >= len(fakes):
        raise UserError(f"holdout: {count} of {len(fakes)} fake items leave none to train on: hold out fewer")
    held = set(fakes[:count])
    return tuple(item.model_copy(update={"role": "holdout"}) if item.id in held else item for item in items)


def of_role(items: Iterable[Item], roles: Iterable[str]) -> tuple[Item, ...]:
    """Return the items of the given roles, in order."""
    wanted = set(roles)
    return tuple(item for item in items if item.role in wanted)


def _item(raw: Any, *, where: str) -> Item:
    try:
        return parse(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "item"
        raise UserError(f"{where}: {field}: {first['msg']}") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON: {error}") from None
