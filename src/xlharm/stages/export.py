"""Export a cell's model: an adapter that PEFT loads by itself, or a merged model, with a README that says how."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from xlharm.errors import UserError
from xlharm.model.base import DTYPES, configuration
from xlharm.model.experts import stacked_parameters
from xlharm.model.text import auto_class, on_meta
from xlharm.model.tokenizer import TextTokenizer, load_tokenizer
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.stages.card import Card
from xlharm.store.store import Store

_PREFIX = "base_model.model."
_EXPERTS_OF_OLD_FILES = {"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def export(plan: Plan, store: Store, cell: Cell, folder: Path, *, merge: bool = False) -> None:
    """Write a cell's model and a README to a folder.

    Args:
        plan: the plan of the grid.
        store: the store with the cell's model.
        cell: the cell.
        folder: to be written; it must not exist or must be empty.
        merge: write the base with the adapter added to its weights, instead of the adapter alone.

    Raises:
        UserError: the cell's model is not in the store yet, the folder is not empty or cannot be written, or the base
            cannot be loaded. The folder appears whole or not at all.
    """
    stage = plan.stages[cell.model]
    if not store.has(stage):
        raise UserError(f"{cell.name}: its model is not in the store yet; run the grid first")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not an empty folder")
    tokenizer = load_tokenizer(plan.sources.base, trust_remote_code=plan.grid.trust_remote_code)
    card = Card(plan=plan, cell=cell, tokenizer=tokenizer, folder=folder.resolve(), merged=merge)
    stored = store.path(stage.kind, stage.key)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as outer:
            scratch = Path(outer) / "model"
            scratch.mkdir()
            write_adapter(stored, scratch, plan=plan)
            if merge:
                _merge(scratch, plan=plan, tokenizer=tokenizer)
            (scratch / "README.md").write_text(card.text(), encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            scratch.rename(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def write_adapter(source: Path, folder: Path, *, plan: Plan) -> None:
    """Copy an adapter, with the place of its base in its configuration, and its layers as transformers names them.

    Where transformers stacks experts, PEFT takes `down_proj` and its like for the experts of old files. So such layers
    are named by their weights, as `target_parameters`; what PEFT computes is the same.
    """
    base, code = plan.sources.base, plan.grid.trust_remote_code
    shutil.copy2(source / "record.json", folder / "record.json")
    config = json.loads((source / _CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base.location if base.revision else str(Path(base.location).resolve())
    config["revision"] = base.revision
    with safe_open(source / _WEIGHTS, framework="pt") as file:
        names = {name.removeprefix(_PREFIX).rpartition(".lora_")[0] for name in file.keys()}  # noqa: SIM118 - not a dict
    layers = sorted({name.replace(".base_layer", "") for name in names})
    model = on_meta(configuration(base, trust_remote_code=code), trust_remote_code=code)
    prefix = prefix_of(layers, names={name for name, _ in model.named_modules()})
    if prefix is None:
        shutil.copy2(source / _WEIGHTS, folder / _WEIGHTS)
        if base.kind == "masked":  # layers of its output have the same last names, and no adapters
            config["target_modules"] = layers
    else:
        renamed = {
            name.replace(f"{_PREFIX}model.", f"{_PREFIX}{prefix}"): tensor
            for name, tensor in load_file(source / _WEIGHTS).items()
        }
        save_file(renamed, folder / _WEIGHTS, metadata={"format": "pt"})
        linear = [layer for layer in layers if layer.rpartition(".")[2] in config["target_modules"]]
        config["target_modules"] = [layer.replace("model.", prefix, 1) for layer in linear]
    if stacked_parameters(model):
        _name_by_weights(config)
    (folder / _CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


def _name_by_weights(config: dict[str, Any]) -> None:
    """Name layers by their weights where PEFT would take their names for those of single experts."""
    mistaken = [name for name in config["target_modules"] if name.rpartition(".")[2] in _EXPERTS_OF_OLD_FILES]
    if mistaken:
        config["target_modules"] = [name for name in config["target_modules"] if name not in mistaken]
        config["target_parameters"] = [*config.get("target_parameters", []), *(f"{name}.weight" for name in mistaken)]


def prefix_of(layers: list[str], *, names: set[str]) -> str | None:
    """Return what stands for `model.` before the layers' names in a model with images or sound; None for others.

    Raises:
        UserError: the base has no layers of such names.
    """
    if names >= set(layers):
        return None
    first = layers[0].removeprefix("model.")
    for name in sorted(names):
        prefix = name.removesuffix(first)
        if name.endswith(f".{first}") and names >= {layer.replace("model.", prefix, 1) for layer in layers}:
            return prefix
    raise UserError("export: transformers loads this base with layers of other names than the adapter's")


def _merge(folder: Path, *, plan: Plan, tokenizer: TextTokenizer) -> None:
    """Replace an exported adapter by the whole model: added in float32, stored in the grid's precision."""
    import torch
    from peft import PeftModel

    base, code = plan.sources.base, plan.grid.trust_remote_code
    model = auto_class(configuration(base, trust_remote_code=code)).from_pretrained(
        base.location, revision=base.revision, dtype=torch.float32, trust_remote_code=code
    )
    merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload().to(DTYPES[plan.dtype])
    merged.save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)
    for name in (_CONFIG, _WEIGHTS):
        (folder / name).unlink()
