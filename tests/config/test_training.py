"""A new optional setting leaves the keys of stored stages alone."""

from typing import ClassVar

from xlharm.config.training import Strict, key_settings


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
