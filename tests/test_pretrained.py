"""A model whose files lack something is refused: transformers would fill it with random numbers and only warn."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from tests.hub_cache import COMMIT, downloaded, offline_hub
from xlharm.errors import UserError
from xlharm.model.base import load_base
from xlharm.plan.base_files import folder_base, hub_base
from xlharm.plan.sources import BaseSource
from xlharm.pretrained import as_planned, load_whole

CPU = torch.device("cpu")
QUERY = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, pad_token_id=0)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    return tmp_path


def changed(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder: Path) -> object:
    return load_base(folder_base(folder), dtype="float32", device=CPU)


def test_a_base_is_loaded_with_its_own_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    assert torch.equal(load(folder).state_dict()[QUERY], weights[QUERY])


def test_a_weight_that_is_missing_is_named(folder: Path) -> None:
    changed(folder, lambda weights: weights.pop(QUERY))
    with pytest.raises(UserError, match=rf"base .*: its files lack {QUERY}, or have them in other shapes"):
        load(folder)


def test_a_weight_of_another_shape_is_named(folder: Path) -> None:
    changed(folder, lambda weights: weights.update({QUERY: torch.zeros(8, 16)}))
    with pytest.raises(UserError, match=rf"base .*: its files lack {QUERY}, or have them in other shapes"):
        load(folder)


def test_a_damaged_file_is_one_line(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"base .*: cannot be loaded"):
        load(folder)


def test_a_judge_without_a_trained_head_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"judge nli: its files lack score\.weight"):
        load_whole(AutoModelForSequenceClassification, str(folder), called="judge nli")


def test_a_configuration_that_cannot_be_read_is_one_line(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "no-such"}))
    with pytest.raises(UserError, match=r"base .*: cannot be loaded: .*no-such"):
        load(folder)


def test_files_that_change_while_they_are_loaded_are_noticed(folder: Path) -> None:
    source = folder_base(folder)
    with as_planned(source, called="base b"):
        pass
    message = r"^base b: model\.safetensors differs: it is not what was planned with"
    with pytest.raises(UserError, match=message), as_planned(source, called="base b"):
        changed(folder, lambda weights: weights.update({QUERY: weights[QUERY] + 1}))


def test_weights_stay_what_they_are_when_their_file_is_overwritten(folder: Path) -> None:
    """Tensors of the file's own precision are the file itself, until they are copied."""
    model: Any = load(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = folder / "model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_hub_model_is_of_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    wanted, other = "a" * 40, "b" * 40
    source = BaseSource(location="org/model", revision=wanted, digest="d", size=0)
    for commit in (other, wanted):
        message = f"the hub gave another commit than {wanted}"
        with pytest.raises(UserError, match=message), as_planned(source, called="base org/model"):
            pass
        path = tmp_path / "models--org--model" / "snapshots" / commit / "config.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    with as_planned(source, called="base org/model"):
        pass


def test_a_damaged_weight_file_in_the_hubs_cache_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    source = BaseSource(location="org/model", revision="a" * 40, digest="d", size=0)
    model = tmp_path / "models--org--model"
    snapshot, blobs = model / "snapshots" / ("a" * 40), model / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    blob = blobs / hashlib.sha256(b"weights").hexdigest()
    blob.write_bytes(b"weights")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").symlink_to(blob)
    with as_planned(source, called="base org/model"):
        pass
    blob.write_bytes(b"weightS")
    message = rf"^base org/model: {blob}: damaged; delete it, so that it is downloaded again"
    with pytest.raises(UserError, match=message), as_planned(source, called="base org/model"):
        pass


def test_a_hub_model_in_the_cache_is_loaded_by_its_id(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded(offline_hub(tmp_path_factory.mktemp("hub"), monkeypatch), folder, name="org/model")
    source = hub_base("org/model", COMMIT)
    with as_planned(source, called="base org/model"):
        model: Any = load_base(source, dtype="float32", device=CPU)
    weights = load_file(folder / "model.safetensors")
    assert torch.equal(model.state_dict()[QUERY], weights[QUERY])
