"""Rooms of classes that a grid names by a tag: one file a class, found without a list of them."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from xlharm.errors import StageError

Model = TypeVar("Model", bound=BaseModel)


@cache
def kinds_in(package: str, base: type[Model], *, tag: str) -> Mapping[str, type[Model]]:
    """Return the classes that the modules of a package define, by their tag, in the order of the modules' names.

    Args:
        package: full name.
        base: what they are subclasses of. Subclasses whose ``tag`` is no literal are bases of others.
        tag: the field that names a class in grid files: ``kind: Literal["nli"]``.

    Raises:
        TypeError: a class lacks a method, or two classes have one tag.
    """
    classes: dict[str, type[Model]] = {}
    for module_info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{module_info.name}")
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__:
                for name in tags_of(value, tag=tag):
                    _check(value, name=name, others=classes)
                    classes[name] = value
    return classes


def tags_of(model: type[BaseModel], *, tag: str) -> tuple[str, ...]:
    """Return the values of a class's tag; none when the field is no literal."""
    field = model.model_fields.get(tag)
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()


def _check(model: type[BaseModel], *, name: str, others: Mapping[str, type[BaseModel]]) -> None:
    if inspect.isabstract(model):
        lacks = ", ".join(sorted(model.__abstractmethods__))
        raise TypeError(f"{model.__module__}.{model.__name__} lacks {lacks}")
    if name in others:
        raise TypeError(f"{model.__module__}.{model.__name__}: {others[name].__name__} is called {name!r} too")


def class_of(kind: object, kinds: Mapping[str, type[Model]], *, room: str) -> type[Model]:
    """Return the class that a stage names.

    Raises:
        StageError: there is none here: the stage was planned with another version of xlharm.
    """
    if kind not in kinds:
        raise StageError(f"{room}: there is no {kind!r} here (there are {', '.join(kinds)}): the plan knows more")
    return kinds[str(kind)]


def validated(settings: Mapping[str, Any], kinds: Mapping[str, type[Model]], *, tag: str, room: str) -> Model:
    """Validate settings that a stage carries back into their class.

    Raises:
        StageError: there is no such class here, or it does not take these settings.
    """
    model = class_of(settings.get(tag), kinds, room=room)
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StageError(f"{room}: {settings[tag]}: {where}: {first['msg']}: the plan knows other settings") from None


@dataclass(frozen=True)
class OneOf:
    """Annotation of a base class: a value is of the subclass that its tag names (a discriminated union)."""

    kinds: Callable[[], Mapping[str, type[BaseModel]]]
    tag: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the union of all kinds there are when the grid's schema is built."""
        choices = {name: handler.generate_schema(model) for name, model in self.kinds().items()}
        return core_schema.tagged_union_schema(choices, discriminator=self.tag)
