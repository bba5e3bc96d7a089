"""What is remembered of evaluations holds only as long as they are what they were."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis import counted, leaks
from xlharm.analysis.counted import remembered
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.plan.build import Plan
from xlharm.store.store import Store


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, Store]:
    monkeypatch.setattr(counted, "FEWEST", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plan = plan_of(languages=["en", "de"], contaminate=["none", "de"], unlearn={"none": []}, methods={})
    store = Store(str(tmp_path / "store"))
    fill(plan, store, n=10)
    return plan, store


def keys(plan: Plan) -> list[str]:
    return [key for cell in plan.cells for key in cell.evaluations.values()]


def test_a_second_look_reads_no_answers_and_says_the_same(
    filled: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = filled
    first = GridResults(plan, store)
    assert first.table.num_rows == 4
    assert set(remembered(store, keys(plan))) == set(keys(plan))
    monkeypatch.setattr(GridResults, "rows", pytest.fail)
    again = GridResults(plan, Store(store.url))
    assert again.table.equals(first.table)
    for key in keys(plan):
        one, two = first.rates(key), again.rates(key)
        assert one is not None
        assert two is not None
        assert one.of.items == two.of.items
        assert np.array_equal(one.qr.hits, two.qr.hits)
        assert np.array_equal(one.qr.questions, two.qr.questions)
        assert first.record(key) == again.record(key)


def test_answers_that_changed_are_read_again(filled: tuple[Plan, Store]) -> None:
    plan, store = filled
    assert not GridResults(plan, store).damaged
    key = keys(plan)[0]
    path = store.path("evaluate", key) / "rows.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)  # of the same size
    (line,) = GridResults(plan, Store(store.url)).damaged
    assert "does not match its checksum" in line
    assert key not in remembered(store, keys(plan))


def test_a_record_that_is_not_the_sealed_one_is_read_again(filled: tuple[Plan, Store]) -> None:
    plan, store = filled
    assert not GridResults(plan, store).damaged
    folder = store.path("evaluate", keys(plan)[0])
    (folder / "_SUCCESS").write_bytes(b"xlharm stage 2 " + b"0" * 64 + b"\n")
    assert len(GridResults(plan, Store(store.url)).damaged) == 1


@pytest.mark.parametrize("content", [b"", b"no parquet"])
def test_a_damaged_file_is_as_none(filled: tuple[Plan, Store], content: bytes) -> None:
    plan, store = filled
    assert GridResults(plan, store).table.num_rows == 4
    (path,) = (Path(os.environ["XDG_CACHE_HOME"]) / "xlharm/counted").iterdir()
    path.write_bytes(content)
    assert remembered(store, keys(plan)) == {}
    assert GridResults(plan, Store(store.url)).table.num_rows == 4


def test_few_evaluations_are_not_worth_a_file(filled: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = filled
    monkeypatch.setattr(counted, "FEWEST", 500)
    assert GridResults(plan, store).table.num_rows == 4
    assert not (Path(os.environ["XDG_CACHE_HOME"]) / "xlharm/counted").exists()


def test_without_a_home_nothing_is_remembered(filled: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    plan, store = filled
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert GridResults(plan, store).table.num_rows == 4
    assert remembered(store, keys(plan)) == {}


def test_what_a_view_computes_is_noted_for_the_same_answers_and_version(filled: tuple[Plan, Store]) -> None:
    plan, store = filled
    wanted = keys(plan)

    def values(version: str, number: float) -> set[float]:
        results = GridResults(plan, Store(store.url))
        return set(results.noted("view", version=version, compute=lambda _key: number).values())

    assert values("a", 0.1) == {0.1}
    assert values("a", 0.2) == {0.1}
    assert values("b", 0.3) == {0.3}  # another version
    shutil.rmtree(store.path("evaluate", wanted[0]))
    fill(plan, store, n=8)  # other answers of one evaluation
    changed = GridResults(plan, Store(store.url)).noted("view", version="b", compute=lambda _key: 0.4)
    assert [changed[key] for key in wanted] == [0.4, 0.3, 0.3, 0.3]


def test_the_view_leaks_says_the_same_from_its_notes(
    filled: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = filled
    first = view("leaks", GridResults(plan, store))
    assert first.num_rows == 4
    monkeypatch.setattr(leaks, "_any_language", pytest.fail)
    assert view("leaks", GridResults(plan, Store(store.url))).equals(first)
