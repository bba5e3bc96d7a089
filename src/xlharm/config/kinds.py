"""Groups ("rooms") of classes from which a grid chooses by a tag: methods by `objective`, probes and judges by `kind`.

A room has the classes of its package, those of installed plug-ins (entry points in the group of the package's name,
such as ``xlharm.methods``), and those of the files that a grid lists under `plugins`.
"""

import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import (
    CoreSchema,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    core_schema,
)

from xlharm.config.training import Strict
from xlharm.errors import StageError, UserError, nearest

Class = TypeVar("Class", bound=Strict)


@dataclass(frozen=True, eq=False)
class Kinds(Generic[Class]):
    """The classes of a room.

    Attributes:
        base: base class of all of them.
        tag: the field whose only allowed value names the class.
        room: the room's package, which is also the group of entry points of its plug-ins.
        word: name of one of them in messages, such as "method".
    """

    base: type[Class]
    tag: str
    room: str
    word: str
    _from_files: dict[str, type[Class]] = field(default_factory=dict)

    def all(self) -> dict[str, type[Class]]:
        """Return the classes by tag, the room's own first.

        Raises:
            UserError: an installed plug-in does not load, or uses a name that is already taken.
        """
        return {**_own(self), **_installed(self), **self._from_files}

    def register(self, classes: Mapping[str, type[Class]]) -> None:
        """Add the classes of a plug-in file; a class of the same name from an earlier file is replaced.

        Raises:
            UserError: a name is that of one of xlharm's own classes.
        """
        for name in classes:
            if name in _own(self):
                raise UserError(f"plugins: {self.tag} {name!r} is a {self.word} of xlharm: choose another name")
        self._from_files.update(classes)

    def tag_of(self, kind: type[Class]) -> str | None:
        """Return the value that names a class; None for a base class of others."""
        info = kind.model_fields.get(self.tag)
        values = get_args(info.annotation) if info else ()
        return str(values[0]) if len(values) == 1 else None

    def among(self, module: object) -> dict[str, type[Class]]:
        """Return the classes of this room that a module defines, by tag."""
        name = getattr(module, "__name__", "")
        classes = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, self.base)]
        return {tag: c for c in classes if c.__module__ == name and (tag := self.tag_of(c)) is not None}

    def restore(self, settings: Mapping[str, Any]) -> Class:
        """Return the object that the settings in a stage's key describe.

        Raises:
            StageError: this process has no such class, or a plug-in's class with another source.
        """
        fields = dict(settings)
        tag, source = str(fields.get(self.tag)), fields.pop("plugin", None)
        kind = self.all().get(tag)
        if kind is None:
            raise StageError(
                f"this worker has no {self.word} {tag!r}: install its plug-in on all machines, or list its file in the "
                "grid under `plugins`"
            )
        if kind.source_digest != source:
            raise StageError(
                f"{self.word} {tag!r}: this worker has another version of the plug-in than the grid was planned with"
            )
        return kind.model_validate(fields)

    # -- as an annotation of a pydantic field ----------------------------------------------------------------

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        def dump(value: BaseModel, info: core_schema.SerializationInfo) -> dict[str, Any]:
            return value.model_dump(mode=info.mode)

        return core_schema.no_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(dump, info_arg=True)
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        choices = {tag: kind.__pydantic_core_schema__ for tag, kind in self.all().items()}
        return handler(core_schema.tagged_union_schema(choices, discriminator=self.tag))

    def _validate(self, value: object) -> Class:
        if isinstance(value, self.base):
            return value
        if not isinstance(value, Mapping):
            raise PydanticKnownError("dict_type")
        kinds = self.all()
        if self.tag not in value:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": repr(self.tag)})
        tag = value[self.tag]
        if not isinstance(tag, str) or tag not in kinds:
            known = ", ".join(map(repr, kinds))
            context = {"discriminator": repr(self.tag), "tag": str(tag), "expected_tags": known}
            raise PydanticKnownError("union_tag_invalid", context)
        try:
            return kinds[tag].model_validate(value)
        except ValidationError as error:
            raise _within(error, tag) from None


def _within(error: ValidationError, tag: str) -> ValidationError:
    """Return a validation error with the tag in front of each location, as in a union of pydantic."""
    own = get_args(core_schema.ErrorType)
    lines: list[InitErrorDetails] = [
        {
            "type": e["type"] if e["type"] in own else PydanticCustomError(e["type"], "{text}", {"text": e["msg"]}),
            "loc": (tag, *e["loc"]),
            "input": e["input"],
            "ctx": e.get("ctx", {}),
        }
        for e in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, lines)


@cache
def _own(kinds: Kinds[Any]) -> dict[str, type[Any]]:
    package = importlib.import_module(kinds.room)
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    classes: dict[str, type[Any]] = {}
    for name in names:
        classes |= kinds.among(importlib.import_module(f"{kinds.room}.{name}"))
    return classes


@cache
def _installed(kinds: Kinds[Any]) -> dict[str, type[Any]]:
    classes: dict[str, type[Any]] = {}
    for entry in entry_points(group=kinds.room):
        try:
            kind = entry.load()
        except Exception as error:
            raise UserError(f"plug-in {entry.name} ({entry.value}) does not load: {error!r}") from error
        tag = kinds.tag_of(kind) if inspect.isclass(kind) and issubclass(kind, kinds.base) else None
        if tag is None:
            raise UserError(f"plug-in {entry.name} ({entry.value}): expected a {kinds.word}, with one {kinds.tag}")
        if tag in _own(kinds) or tag in classes:
            raise UserError(f"plug-in {entry.name}: {kinds.tag} {tag!r} is taken{nearest(tag, ())}")
        kind.source_digest = source_digest(Path(inspect.getfile(kind)).read_bytes())
        classes[tag] = kind
    return classes


def source_digest(source: bytes) -> str:
    """Return the digest of a plug-in's source, which is part of keys."""
    return hashlib.sha256(source).hexdigest()
