"""Checkpoints: whole and unchanged, or known to be damaged."""

from pathlib import Path

import pytest

from xlharm.store.checkpoint import Checkpoints, DamagedCheckpointError
from xlharm.store.files import Files


@pytest.fixture
def store(tmp_path: Path) -> Files:
    return Files(str(tmp_path))


def write(checkpoints: Checkpoints, name: str, text: str) -> None:
    checkpoints.write(name, lambda path: path.write_text(text))


def test_every_flipped_bit_of_a_checkpoint_is_noticed(store: Files) -> None:
    checkpoints = Checkpoints(store, "pack")
    write(checkpoints, "00000001-rank0", "state")
    (path,) = (store.local / "partial" / "pack").iterdir()
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedCheckpointError, match=r"^checkpoint partial/pack/00000001-rank0 does not match"):
            checkpoints.read("00000001-rank0", Path.read_bytes)
    path.write_bytes(content)
    assert checkpoints.read("00000001-rank0", Path.read_text) == "state"


def test_one_without_a_checksum_in_its_name_is_not_trusted(store: Files) -> None:
    folder = store.local / "partial" / "pack"
    folder.mkdir(parents=True)
    (folder / "00000001-rank0.safetensors").write_text("of an older version")
    checkpoints = Checkpoints(store, "pack")
    assert checkpoints.names() == {"00000001-rank0"}
    with pytest.raises(DamagedCheckpointError):
        checkpoints.read("00000001-rank0", Path.read_text)


def test_one_that_was_written_again_is_read_whole(store: Files) -> None:
    checkpoints = Checkpoints(store, "pack")
    write(checkpoints, "1", "before")
    write(checkpoints, "1", "after")
    assert checkpoints.read("1", Path.read_text) in {"before", "after"}
    checkpoints.remove("1")
    assert checkpoints.names() == set()


def test_all_forms_of_a_packs_checkpoints_are_dropped_and_no_other_packs(store: Files) -> None:
    for pack, form in (("abc", "111-1x0"), ("abc", "011-1x0"), ("abc", ""), ("abcd", "111-1x0"), ("xabc", "1-1x0")):
        write(Checkpoints(store, pack, form=form), "1", "state")
    Checkpoints(store, "abc", form="011-1x0").drop()
    assert {path.name for path in (store.local / "partial").iterdir()} == {"abcd-111-1x0", "xabc-1-1x0"}
    Checkpoints(store, "nothing").drop()
