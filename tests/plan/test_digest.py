"""Canonical JSON and the refusal of what has none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlharm.plan.digest import canonical, digest, mix

texts = st.text(max_size=4)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(texts, plain, max_size=3))
def test_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(list(value.items()))))


def test_known_text() -> None:
    assert canonical({"b": [1, 2.5, None], "a": "ü"}) == '{"a":"\\u00fc","b":[1,2.5,null]}'


@pytest.mark.parametrize("bad", [{1, 2}, Path("x"), object(), {1: 2}, b"x"])
def test_what_has_no_stable_text_is_refused(bad: object) -> None:
    with pytest.raises(TypeError):
        digest({"x": bad})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="cannot be part of a key"):
        digest([bad])


def test_mix_is_the_same_everywhere() -> None:
    assert mix(0, "unlearn/forget", 1, 2) == 0x33791728448A7ADD  # golden: every random stream derives from it
