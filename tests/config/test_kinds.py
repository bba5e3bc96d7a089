"""A class in a room is found by its tag, and one that is not whole is an error at once."""

import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from xlharm.config.kinds import kinds_in, tags_of, validated
from xlharm.errors import StageError


class Shape(BaseModel):
    size: int = 1

    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    kind: Literal["square", "quad"]

    def area(self) -> float:
        return float(self.size**2)


ROUND = """
from typing import Literal
from tests.config.test_kinds import Shape, Square

class Round(Shape):
    kind: Literal["round"]
    size: int = 2

    def area(self) -> float:
        return 3.0 * self.size
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a package with a file of classes, and lists its kinds."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(name: str, text: str) -> Any:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "one.py").write_text(text)
        return kinds_in(name, Shape, tag="kind")

    yield made
    for name in [n for n in sys.modules if n.startswith("room_")]:
        del sys.modules[name]


def test_a_file_is_all_that_a_kind_needs(room: Any) -> None:
    kinds = room("room_whole", ROUND)
    assert list(kinds) == ["round"]  # what a module only imports is another's
    assert validated({"kind": "round", "size": 4}, kinds, tag="kind", room="shapes").area() == 12


def test_a_kind_that_forgets_a_method_is_refused_when_grids_are_read(room: Any) -> None:
    with pytest.raises(TypeError, match=r"room_lacking\.one\.Round lacks area"):
        room("room_lacking", ROUND.partition("    def area")[0])


def test_two_kinds_of_one_name_are_refused(room: Any) -> None:
    with pytest.raises(TypeError, match="Round is called 'round' too"):
        room("room_twice", ROUND + ROUND.replace("class Round", "class Oval"))


def test_a_kind_that_workers_do_not_know_is_named() -> None:
    with pytest.raises(StageError, match=r"shapes: there is no 'round' here \(there are square\)"):
        validated({"kind": "round"}, {"square": Square}, tag="kind", room="shapes")
    with pytest.raises(StageError, match="there is no None here"):
        validated({}, {"square": Square}, tag="kind", room="shapes")


def test_settings_that_workers_do_not_know_are_named() -> None:
    with pytest.raises(StageError, match=r"shapes: square: size: .*valid integer"):
        validated({"kind": "square", "size": "wide"}, {"square": Square}, tag="kind", room="shapes")


def test_a_base_has_no_tag() -> None:
    assert tags_of(Shape, tag="kind") == ()
    assert tags_of(Square, tag="kind") == ("square", "quad")
