"""grid/architectures has one study for each family of models. Bases of these types are planned without a network."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import save_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

import xlharm
from xlharm.corpus.finding import assets
from xlharm.plan.families import kind_of, path_of

FOLDER = Path(__file__).parents[2] / "grid" / "architectures"
TYPES = {
    "aya": "cohere", "bloomz": "bloom", "deepseek-v3": "deepseek_v3", "falcon": "falcon", "gemma3": "gemma3_text",
    "gemma4": "gemma4_text", "gpt-oss": "gpt_oss", "gpt2": "gpt2", "llama3": "llama", "mamba": "mamba",
    "mbert": "bert", "mixtral": "mixtral", "mt5": "mt5", "qwen3": "qwen3", "qwen3.5": "qwen3_5_text", "xglm": "xglm",
}  # fmt: skip
"""The ``model_type`` of each file's checkpoint; of one that also sees, that of its text part."""
PATHS = {name: path_of("auto", family=kind, kind=kind_of({"model_type": kind})) for name, kind in TYPES.items()}
OWN = {"name", "base", "prompt", "trust_remote_code"}  # what may differ between the files
IMPORT = re.compile(
    r"^# Weights in bfloat16: [\d.]+ GB\. First: xlharm base import ([\w.-]+/[\w.-]+) (bases/\S+)$", re.MULTILINE
)


def test_there_is_a_file_for_each_type() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == TYPES.keys()
    assert set(TYPES.values()) <= CONFIG_MAPPING_NAMES.keys()


@pytest.mark.parametrize("name", TYPES)
def test_a_file_names_a_checkpoint_and_its_path(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    ((hub, folder),) = IMPORT.findall(text)
    grid = YAML(typ="safe").load(text)
    assert re.fullmatch(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]{0,95}", hub)
    assert folder == grid["base"] == f"bases/{name}"
    assert grid["name"] == f"architecture-{name}"
    assert f"the {PATHS[name]} path" in text


def test_all_files_are_one_study() -> None:
    def design(path: Path) -> str:
        grid = YAML(typ="safe").load(path)
        return json.dumps({field: value for field, value in grid.items() if field not in OWN}, sort_keys=True)

    assert len({design(path) for path in FOLDER.glob("*.yaml")}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPES)
def test_a_file_is_planned(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "bases" / name
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps({"model_type": TYPES[name]}), encoding="utf-8")
    save_file({"weight": np.zeros(1)}, base / "model.safetensors")  # planning reads no weights
    for file in (assets() / "tiny-base").glob("tokenizer*.json"):
        shutil.copy(file, base)
    monkeypatch.chdir(tmp_path)
    overrides: dict[str, Any] = {"lora.target_modules": ["q_proj"], "trust_remote_code": False}
    plan = xlharm.open(FOLDER / f"{name}.yaml", store=tmp_path / "store", overrides=overrides).plan()
    assert len(plan.cells) == 9  # none; de and ur with none, en, source and en+source
    assert {stage.spec.get("path", "fast") for stage in plan.stages.values()} == {PATHS[name]}
