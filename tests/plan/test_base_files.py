"""A local model is known by exactly what loading reads of it."""

import ast
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.conftest import plan_of
from tests.hub_cache import COMMIT, downloaded, offline_hub
from xlharm.corpus.finding import assets
from xlharm.errors import UserError
from xlharm.plan import base_files
from xlharm.plan.base_files import check_files, folder_base, hub_base
from xlharm.plan.sources import BaseSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(assets() / "tiny-base", tmp_path / "base"))


def sharded(folder: Path, *names: str) -> None:
    """Make the base one whose index names these files."""
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(enumerate(names))}))


NOT_READ = (
    "notes.txt", "trainer_state.json", "results.json", "info.json", "consolidated.safetensors", "old.bin", "a.py",
)  # fmt: skip
READ = (
    "generation_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.4.0.0.json", "vocab.json",
    "merges.txt", "tokenizer.model", "spiece.model", "qwen.tiktoken", "chat_template.jinja",
    "additional_chat_templates/tool.jinja",
)  # fmt: skip


@pytest.mark.parametrize("name", NOT_READ)
def test_what_loading_does_not_read_does_not_count(folder: Path, name: str) -> None:
    before = folder_base(folder)
    (folder / name).write_text("anything")
    assert folder_base(folder) == before


@pytest.mark.parametrize("name", READ)
def test_what_loading_reads_counts(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{  }")
    one = folder_base(folder).digest
    path.write_text("{ }")
    assert len({folder_base(assets() / "tiny-base").digest, one, folder_base(folder).digest}) == 3


def test_the_shipped_bases_digest_stays() -> None:
    """Keys of all grids on it derive from this."""
    assert (
        folder_base(assets() / "tiny-base").digest == "fb835549de1f2f1258cea6cb73f380cf62d46cb109fd5d7feec003b803173b4a"
    )


def test_code_counts_where_it_may_run(folder: Path) -> None:
    before = folder_base(folder, trust_remote_code=True)
    (folder / "layers").mkdir()
    (folder / "layers" / "mine.py").write_text("x = 1")
    assert folder_base(folder).digest == before.digest == folder_base(assets() / "tiny-base").digest
    assert list(folder_base(folder, trust_remote_code=True).files.keys() - before.files.keys()) == ["layers/mine.py"]


def test_code_of_another_repository_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "org/code--model.Mine"}}))
    folder_base(folder)
    with pytest.raises(UserError, match=r"config\.json: auto_map: its code is in another repository"):
        folder_base(folder, trust_remote_code=True)


def test_every_file_that_a_tokenizer_class_looks_for_counts(folder: Path) -> None:
    names = set()
    for path in Path(transformers.__file__).parent.glob("models/*/tokenization*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and "VOCAB_FILES_NAMES" in {getattr(t, "id", "") for t in node.targets}:
                names |= {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant) and "." in str(n.value)}
    assert len(names) > 20
    for name in names:
        (folder / str(name)).write_text("{}")
    assert names <= folder_base(folder).files.keys()


def test_the_parts_that_an_index_names_are_the_weights(folder: Path) -> None:
    sharded(folder, "part.safetensors", "part.safetensors")
    (folder / "other.safetensors").write_text("not named")
    files = folder_base(folder).files
    assert {"model.safetensors.index.json", "part.safetensors"} <= files.keys()
    assert "other.safetensors" not in files
    shutil.copy(folder / "part.safetensors", folder / "model.safetensors")  # it comes first, as in transformers
    assert "part.safetensors" not in folder_base(folder).files


@pytest.mark.parametrize("name", ["../base/part.safetensors", "/etc/part.safetensors"])
def test_an_index_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    sharded(folder, name)
    with pytest.raises(UserError, match=r"index\.json names '.*part\.safetensors', outside of the folder"):
        folder_base(folder)


def test_a_part_that_is_missing_is_named(folder: Path) -> None:
    sharded(folder, "gone.safetensors")
    with pytest.raises(UserError, match=r"names gone\.safetensors, which is not there"):
        folder_base(folder)


def test_an_adapter_is_no_base(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    with pytest.raises(UserError, match=r"adapter_config\.json: it is an adapter on another base"):
        folder_base(folder)


# -- large files are digested once ---------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Every file counts as large; the names of those that are read are returned."""
    names: list[str] = []
    digest: Callable[[Path], str] = base_files.file_digest

    def counted(path: Path) -> str:
        names.append(path.name)
        return digest(path)

    monkeypatch.setattr(base_files, "file_digest", counted)
    monkeypatch.setattr(base_files, "_LARGE", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return names


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_files, "_remembered", {})


def test_a_file_that_stays_is_read_once(folder: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = folder_base(folder)
    as_another_process(monkeypatch)
    assert folder_base(folder) == first
    assert sorted(reads) == sorted(first.files)


def test_a_replaced_file_of_the_same_size_and_time_is_read_again(folder: Path, reads: list[str]) -> None:
    first, path = folder_base(folder), folder / "model.safetensors"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    reads.clear()
    (folder / "new").write_bytes(content)
    (folder / "new").replace(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    with pytest.raises(UserError, match=r"^base b: model\.safetensors differs: it is not what was planned with"):
        check_files(first, called="base b", contents=False)
    assert reads == ["model.safetensors"]


def test_damage_that_leaves_size_and_times_is_noticed_before_loading(
    folder: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, path = folder_base(folder), folder / "model.safetensors"
    stamp = base_files._stamp
    monkeypatch.setattr(base_files, "_stamp", lambda path, stamps={}: stamps.setdefault(path, stamp(path)))
    base_files._stamp(path)  # from now on its size and times stay what they are
    monkeypatch.setattr(base_files, "_remembered", {base_files._stamp(folder / n): d for n, d in first.files.items()})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    check_files(first, called="base b", contents=False)
    with pytest.raises(UserError, match=r"^base b: model\.safetensors differs: .* is damaged, or this machine"):
        check_files(first, called="base b", contents=True)


def test_a_part_in_a_folder_below_counts(folder: Path) -> None:
    (folder / "parts").mkdir()
    sharded(folder, "parts/one.safetensors")
    (folder / "part.safetensors").rename(folder / "parts" / "one.safetensors")
    before = folder_base(folder)
    assert "parts/one.safetensors" in before.files
    (folder / "parts" / "one.safetensors").write_bytes(b"other")
    assert folder_base(folder).digest != before.digest


def test_a_cache_that_cannot_be_written_costs_only_time(
    folder: Path, reads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    first = folder_base(folder)
    as_another_process(monkeypatch)
    assert folder_base(folder) == first
    assert len(reads) == 2 * len(first.files)


# -- what workers check --------------------------------------------------------------------------------------


def test_what_changed_is_named(folder: Path) -> None:
    planned = folder_base(folder)
    check_files(planned, called="base b", contents=True)
    (folder / "tokenizer_config.json").unlink()
    (folder / "vocab.txt").write_text("a")
    with pytest.raises(UserError, match=r"^base b: tokenizer_config\.json is missing, vocab\.txt is new: it is not"):
        check_files(planned, called="base b", contents=True)


def test_a_folder_with_a_hub_models_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would load it instead of the hub's."""
    source = BaseSource(location="org/model", revision="a" * 40, digest="d", size=0)
    monkeypatch.chdir(tmp_path)
    check_files(source, called="base org/model", contents=True)
    (tmp_path / "org" / "model").mkdir(parents=True)
    with pytest.raises(UserError, match="would be loaded instead"):
        check_files(source, called="base org/model", contents=True)


# -- the same files, from the hub and from a folder ----------------------------------------------------------


def test_a_hub_model_has_the_digest_and_the_keys_of_a_folder_with_its_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini_grid: dict[str, Any]
) -> None:
    cache = offline_hub(tmp_path / "hub", monkeypatch)
    for name in ("README.md", ".gitattributes", "original/consolidated.00.pth", "original/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{name} of the hub")
    snapshot = downloaded(cache, folder, name="org/model")
    assert (snapshot / "model.safetensors").is_symlink()

    mine = tmp_path / "mine"
    shutil.copytree(assets() / "tiny-base", mine)
    for name in ("notes.md", "trainer_state.json", "training_args.bin", "README.md"):
        (mine / name).write_text("of my own")
    by_id, by_folder = hub_base("org/model", COMMIT), folder_base(mine)
    assert (by_id.digest, by_id.files, by_id.size) == (by_folder.digest, by_folder.files, by_folder.size)
    assert (by_id.location, by_id.revision, by_id.family) == ("org/model", COMMIT, "llama")

    nli = {"kind": "nli", "base": str(mine)}
    here = plan_of({**mini_grid, "base": str(mine), "judges": {"nli": nli}})
    hub = {"base": "org/model", "revision": COMMIT}
    there = plan_of({**mini_grid, **hub, "judges": {"nli": {**nli, **hub}}})
    assert list(there.stages) == list(here.stages)
    assert "judge" in {stage.kind for stage in there.stages.values()}


def test_a_commit_that_is_not_in_the_cache_is_refused_with_the_command_that_fetches_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded(offline_hub(tmp_path / "hub", monkeypatch), folder, name="org/model")
    with pytest.raises(
        UserError, match=f"^org/model: base: .* does not have commit {'d' * 40}; fetch it with `hf down"
    ):
        hub_base("org/model", "d" * 40)


def test_a_file_of_the_cache_that_changed_since_planning_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = downloaded(offline_hub(tmp_path / "hub", monkeypatch), folder, name="org/model")
    planned = hub_base("org/model", COMMIT)
    check_files(planned, called="base org/model", contents=True)
    (snapshot / "tokenizer_config.json").resolve().write_text("{}")
    with pytest.raises(UserError, match=r"^base org/model: tokenizer_config\.json differs: it is not what was planned"):
        check_files(planned, called="base org/model", contents=True)
