"""Which translation model is meant."""

from pathlib import Path

import pytest

from xlharm.corpus.translate.source import source_of
from xlharm.errors import UserError


def test_a_folder_is_known_by_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no \*.safetensors weights"):
        source_of(str(folder), revision=None)
    (folder / "model.safetensors").write_bytes(b"1")
    first = source_of(str(folder), revision=None)
    assert (first.name, first.base.revision, first.base.location) == ("model", None, str(folder))
    (folder / "model.safetensors").write_bytes(b"2")
    assert source_of(str(folder), revision=None).version != first.version
    with pytest.raises(UserError, match="only hub models have revisions"):
        source_of(str(folder), revision="main")


def test_a_commit_is_not_asked_for_where_it_is_given() -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    source = source_of("somebody/model", revision=commit)
    assert (source.base.revision, source.version, source.name) == (commit, commit, "somebody/model")


@pytest.mark.parametrize("model", ["gpt-9", "./somebody/model", "a/b/c"])
def test_neither_a_folder_nor_a_hub_model(model: str) -> None:
    with pytest.raises(UserError, match=r"neither a folder with a config\.json nor a hub id"):
        source_of(model, revision=None)
