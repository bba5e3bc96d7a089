"""A new optional setting leaves the keys of stored stages alone, and `true` is no number."""

from collections.abc import Iterator
from typing import Any, ClassVar, get_args

import pytest
from pydantic import ValidationError

from xlharm.config.grid import GridSpec
from xlharm.config.training import Strict, key_settings
from xlharm.judges import JUDGES
from xlharm.methods import METHODS
from xlharm.probes import PROBES


class Inner(Strict):
    window: int = 3
    patience: int = 0

    added: ClassVar = frozenset({"patience"})


class Before(Strict):
    steps: int
    beta: float = 0.1


class Now(Before):
    """`Before`, with two settings that it got later."""

    margin: float = 0.0
    stop: Inner | None = None

    added: ClassVar = frozenset({"margin", "stop"})


class Later(Now):
    scale: float = 1.0

    added: ClassVar = frozenset({"scale"})


def test_a_new_setting_at_its_default_is_not_in_keys() -> None:
    assert key_settings(Now(steps=2)) == key_settings(Before(steps=2)) == {"steps": 2, "beta": 0.1}


def test_a_new_setting_with_a_value_of_its_own_is_in_keys() -> None:
    assert key_settings(Now(steps=2, margin=0.5)) == {"steps": 2, "beta": 0.1, "margin": 0.5}


def test_a_class_keeps_what_its_parents_have_added() -> None:
    assert key_settings(Later(steps=2)) == {"steps": 2, "beta": 0.1}
    assert key_settings(Later(steps=2, scale=2)) == {"steps": 2, "beta": 0.1, "scale": 2}


def test_settings_within_settings_follow_the_same_rule() -> None:
    assert key_settings(Now(steps=2, stop=Inner()))["stop"] == {"window": 3}
    assert key_settings(Now(steps=2, stop=Inner(patience=1)))["stop"] == {"window": 3, "patience": 1}


def test_keys_are_validated_back_into_the_settings() -> None:
    settings = Now(steps=2, stop=Inner())
    assert Now.model_validate(key_settings(settings)) == settings


def below(annotation: Any) -> Iterator[Any]:
    """Return the types that an annotation is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from below(part)


def classes() -> set[type[Strict]]:
    """Return every class that a grid file is made of."""
    seen: set[type[Strict]] = set()
    left: list[Any] = [GridSpec, *METHODS.all().values(), *PROBES.all().values(), *JUDGES.all().values()]
    while left:
        kind = left.pop()
        if isinstance(kind, type) and issubclass(kind, Strict) and kind not in seen:
            seen.add(kind)
            left += [part for field in kind.model_fields.values() for part in below(field.annotation)]
    return seen


def test_no_number_in_a_grid_file_may_be_true() -> None:
    numbers = 0
    for kind in classes():
        for name, field in kind.model_fields.items():
            parts = set(below(field.annotation)) & {int, float, bool}
            if parts and bool not in parts:
                numbers += 1
                with pytest.raises(ValidationError) as caught:
                    kind.model_validate({name: True})
                errors = [e for e in caught.value.errors() if e["loc"][0] == name]
                assert [e["type"] for e in errors] == ["bool_for_a_number"], (kind, name)
    assert numbers > 100
