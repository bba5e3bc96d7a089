"""What W&B's own objects hold, and what an offline run leaves on this machine; test_wandb.py has the rest."""

import json
from pathlib import Path

import pytest

from xlharm.tracking import writing
from xlharm.tracking.mirror import Run
from xlharm.tracking.references import Artifact, Reference
from xlharm.tracking.tables import Sheet
from xlharm.tracking.writing import Target, _by_reference, _parts, _table, folders_of, write


@pytest.mark.slow  # W&B's own process
def test_a_table_of_more_rows_than_wandb_keeps_by_itself_is_whole(tmp_path: Path) -> None:
    rows = [["quickstart", i, i / 2] for i in range(10_001)]
    run = Run(
        id="a1", name="g", kind="grid", config={}, summary={}, tables={"t": Sheet(columns=["g", "i", "x"], rows=rows)}
    )
    target = Target(folder=tmp_path, project="p", entity=None, group="g")
    folder = write(run, target=target, mode="offline")
    (path,) = folder.glob("files/media/table/t_*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["g", "i", "x"]
    assert table["data"] == rows
    assert folders_of(run, "offline-run", target=target) == [folder]


@pytest.mark.slow
def test_a_longer_table_goes_on_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_ROWS", 3)
    tables = {"long": Sheet(columns=["i"], rows=[[i] for i in range(7)]), "empty": Sheet(columns=["i"], rows=[])}
    parts = {name: table.data for name, table in _parts(tables)}
    assert parts == {"long": [[0], [1], [2]], "long_2": [[3], [4], [5]], "long_3": [[6]], "empty": []}


def test_a_table_has_all_rows_in_their_order_whatever_their_types() -> None:
    rows = [["a", None, 1], ["b", 0.5, 2], ["c", 1.5, 3], [None, None, 4], ["e", 2, 5], ["f", 2.5, None]]
    table = _table(Sheet(columns=["name", "x", "n"], rows=rows))
    assert table.data == rows
    assert table.columns == ["name", "x", "n"]
    assert [str(table._column_types.params["type_map"][name]) for name in ("name", "x", "n")] == [
        "None or String", "None or Number", "None or Number",
    ]  # fmt: skip


def test_folders_of_one_second_are_all_of_their_run(tmp_path: Path) -> None:
    target = Target(folder=tmp_path, project="p", entity=None, group="g")
    run = Run(id="ab12", name="n", kind="cell", config={}, summary={})
    names = ["run-20261201_000000-ab12", "run-20261201_000000-ab12-1", "run-20261201_000001-ab12"]
    for name in (*names, "run-20261201_000000-ab123", "offline-run-20261201_000000-ab12"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert [folder.name for folder in folders_of(run, "run", target=target)] == names


def test_references_send_addresses_and_checksums_and_no_content() -> None:
    file = Reference(name="adapter.bin", address="store:stages/unlearn/k/adapter.bin", sha256="ab" * 32, size=7)
    made = _by_reference(Artifact(name="adapter-a+b", type="model", files=(file,), store="s3://bucket"))
    (entry,) = made.manifest.entries.values()
    assert (made.name, made.type) == ("adapter-a_b", "model")
    assert (entry.path, entry.ref, entry.local_path) == ("adapter.bin", file.address, None)
    assert made.metadata == {"files": {"adapter.bin": {"sha256": "ab" * 32, "size": 7}}, "store": "s3://bucket"}
