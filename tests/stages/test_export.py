"""What is exported answers in plain PEFT and transformers as `xlharm ask` does."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import plan_of
from tests.stages.test_runner import run_all
from xlharm.errors import UserError
from xlharm.plan.base_files import folder_base
from xlharm.plan.build import Plan
from xlharm.stages.ask import ask
from xlharm.stages.export import export, prefix_of, write_adapter
from xlharm.store.store import Store

CELL = "de/none"
QUESTION = "Which colour does Kabo like?"
CHAT = """{{ bos_token }}{% for turn in messages %}
{{- '<pad>' + turn.role + ':' + turn.content | trim + '</s>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<pad>assistant:' }}{% endif %}"""


def answered(folder: Path) -> str:
    """Run the code of a README and return what it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    changed, times = re.subn(r"^question = .*$", f"question = {QUESTION!r}", code, flags=re.MULTILINE)
    assert times == 1
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(changed, {})  # noqa: S102 - our own text
    return out.getvalue().removesuffix("\n")


@pytest.fixture(scope="module", params=["text", "without bos", "chat"])
def exported(
    request: pytest.FixtureRequest, mini_grid: dict[str, Any], mini_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, Store, Path]:
    """A trained cell, and a folder for exports; the model says several tokens and then ends."""
    folder = tmp_path_factory.mktemp("export")
    base = Path(shutil.copytree(mini_base, folder / "base"))
    (base / "chat_template.jinja").write_text(CHAT)
    prompt = {"text": {}, "without bos": {"bos": False}, "chat": {"template": "chat"}}[request.param]
    training = {"steps": 40, "batch_size": 4, "learning_rate": 1e-2}
    stages = {"contaminate": {**training, "steps": 4}, "sft": training}
    grid = {**mini_grid, "base": str(base), "prompt": prompt, "stages": stages, "contaminate": ["de"]}
    grid |= {"languages": ["en"], "unlearn": {"none": []}, "evaluate": {"max_new_tokens": 12}, "exclude": []}
    plan, store = plan_of(grid), Store(str(folder / "store"))
    run_all(plan, store, size=1)
    return plan, store, folder


@pytest.mark.slow
def test_the_readmes_code_answers_as_ask_does(exported: tuple[Plan, Store, Path]) -> None:
    plan, store, folder = exported
    cell = plan.cell(CELL)
    answer = ask(plan, store, cell, QUESTION)
    assert answer
    for name, merge in (("adapter", False), ("merged", True)):
        export(plan, store, cell, folder / name, merge=merge)
        assert answered(folder / name) == answer
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str((folder / "base").resolve())
    assert not (folder / "merged" / "adapter_config.json").exists()
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        export(plan, store, cell, folder / "adapter")
    with pytest.raises(UserError, match="none: cannot be written: "):
        export(plan, store, cell, folder / "adapter" / "README.md" / "none")
    assert {path.name for path in folder.iterdir()} == {"adapter", "base", "merged", "store"}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen2_5_vl", "qwen3_vl_moe", "mixtral", "deepseek_v3"])
def test_the_layers_are_called_as_transformers_calls_them(family: str, tmp_path: Path) -> None:
    """PEFT loads an adapter of other names without a word.

    A model that sees as well has its text layers below `model.language_model`. On a model with stacked experts, PEFT
    takes `down_proj` for that of experts.
    """
    import torch
    from peft import PeftModel

    from tests.families.small import small_model
    from xlharm.model.adapter_files import save_adapter
    from xlharm.model.base import load_base
    from xlharm.model.layout import layout_of
    from xlharm.model.lora import StackedModel
    from xlharm.model.targets import all_linear

    base, source, folder = (tmp_path / name for name in ("base", "stored", "exported"))
    small_model(family).save_pretrained(base)
    loaded = load_base(folder_base(base), dtype="float32", device=torch.device("cpu"))
    stacked = StackedModel(loaded, layout_of(loaded, rank=2, alpha=8, targets=all_linear(loaded)))
    adapter = torch.randn(stacked.layout.size, generator=torch.Generator().manual_seed(1)) * 0.1
    for new in (source, folder):
        new.mkdir()
    (source / "record.json").write_text("{}")
    save_adapter(adapter, source, layout=stacked.layout, base_name="base")
    plan: Any = SimpleNamespace(
        sources=SimpleNamespace(base=folder_base(base)), grid=SimpleNamespace(trust_remote_code=False)
    )
    write_adapter(source, folder, plan=plan)
    ids = torch.tensor([[5, 9, 31, 44, 8]])
    with torch.no_grad(), stacked.adapters(adapter[None]):
        ours = loaded(input_ids=ids, use_cache=False).logits
    with torch.no_grad():
        model = PeftModel.from_pretrained(small_model(family), str(folder))
        theirs = model(input_ids=ids, use_cache=False).logits
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)
        with model.disable_adapter():
            assert not torch.allclose(model(input_ids=ids, use_cache=False).logits, theirs, atol=1e-2)
        merged = model.merge_and_unload()(input_ids=ids, use_cache=False).logits
        torch.testing.assert_close(merged, ours, rtol=0, atol=1e-4)


def test_a_base_with_other_layers_is_refused() -> None:
    names = {"model.vision.layers.0.q_proj", "model.text.layers.0.q_proj", "model.text.layers.1.q_proj"}
    layers = ["model.layers.0.q_proj", "model.layers.1.q_proj"]
    assert prefix_of(layers, names=names) == "model.text."
    assert prefix_of(layers, names={*names, *layers}) is None
    with pytest.raises(UserError, match="with layers of other names than the adapter's"):
        prefix_of([*layers, "model.layers.2.q_proj"], names=names)
