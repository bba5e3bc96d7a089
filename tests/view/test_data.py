"""The page gets the shape once, then only what has changed; answers and logs by name."""

from pathlib import Path

import pytest

from tests.analysis.worlds import HOSTILE, WORDS, commit_evaluation, fill
from tests.engine.worlds import PLAN
from xlharm.errors import StoreError, UserError
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.view import data
from xlharm.view.data import Board, Watched
from xlharm.view.state import Watch

ASKED = len(PLAN.cells) * len(PLAN.grid.languages)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each question look at the store again."""
    monkeypatch.setattr(data, "SECONDS", 0.0)
    monkeypatch.setattr(data, "PAUSE", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_only_what_has_changed_is_sent(store: Store) -> None:
    board = Board([(PLAN, store)])
    first = board.changes(0)
    assert [len(first["grids"][0][part]) for part in ("squares", "path")] == [ASKED, len(PLAN.cells)]
    second = board.changes(first["version"])
    assert second["version"] > first["version"]
    assert [second["grids"][0][part] for part in ("squares", "path")] == [[], []]
    key = PLAN.cells[1].evaluations["ur"]
    commit_evaluation(store, PLAN.stages[key], of=0.25, qr=1.0, n=8)
    third = board.changes(second["version"])
    shared = [i for i, c in enumerate(PLAN.cells) if c.evaluations["ur"] == key]
    place = PLAN.grid.languages.index("ur")
    assert third["grids"][0]["squares"] == [[i * len(PLAN.grid.languages) + place, "d", 250, 1000] for i in shared]
    late = board.changes(0)  # another page has just been opened
    assert len(late["grids"][0]["squares"]) == ASKED
    assert len(board.changes(10**6)["grids"][0]["squares"]) == ASKED  # of a server that was here before


def test_the_store_is_read_once_for_all_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SECONDS", 1000.0)
    looks = []
    monkeypatch.setattr(Watch, "look", lambda _: looks.append(1) or (_ for _ in ()).throw(StoreError("gone")))
    board = Board([(PLAN, store)])
    assert board.changes(0)["grids"] == [{"trouble": "the store cannot be read at the moment: gone"}]
    board.changes(0)
    assert len(looks) == 1


def test_when_the_store_fails_the_last_look_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board([(PLAN, store)])
    board.changes(0)

    def gone(_: Watch) -> None:
        raise StoreError("gone")

    monkeypatch.setattr(Watch, "look", gone)
    (grid,) = board.changes(0)["grids"]
    assert (grid["total"], grid["trouble"]) == (len(PLAN.stages), "the store cannot be read at the moment: gone")


def test_answers(plan: Plan, full: Store) -> None:
    found = Watched(plan, full).answers("de/en/npo/0", "ur")
    assert (found["cell"], found["query"], len(found["answer"])) == ("de/en/npo/0", "ur", 200)
    assert found["question"][0] == WORDS["ur"][0]
    assert found["answer"][0] == HOSTILE  # as it is: the page writes it as text
    assert found["measure"].count("of") == 100
    assert {len(column) for name, column in found.items() if name not in {"cell", "query"}} == {200}


@pytest.mark.parametrize(
    ("cell", "query", "message"),
    [
        ("de/en/npo/0", "xx", "query 'xx': expected one of en, de"),
        ("xx/en/npo/0", "en", "no such cell"),
        ("ur/en/npo/0", "en", "not in the store, or are damaged"),
    ],
)
def test_answers_that_are_not_there(plan: Plan, partial: Store, cell: str, query: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Watched(plan, partial).answers(cell, query)


def test_logs(store: Store) -> None:
    store.write_text("logs/a.txt", "Traceback \x1b[31m")
    store.write_text("secret.txt", "secret")
    watched = Watched(PLAN, store)
    assert watched.logs() == ["a.txt"]
    assert watched.log("a.txt") == "Traceback \x1b[31m"
    for name in ("../secret.txt", "b.txt", ""):
        with pytest.raises(UserError, match="no log"):
            watched.log(name)


def test_there_is_no_such_grid(store: Store) -> None:
    board = Board([(PLAN, store)])
    assert board.grid("0").plan is PLAN
    for number in ("1", "-1", "x", ""):
        with pytest.raises(UserError, match="no grid"):
            board.grid(number)


def test_several_grids(plan: Plan, full: Store, store: Store) -> None:
    fill(PLAN, store, n=4)
    names = [grid["name"] for grid in Board([(plan, full), (PLAN, store)]).shape()]
    assert names == [plan.grid.name, PLAN.grid.name]
