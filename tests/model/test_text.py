"""The text part of models that also see or hear gives the whole's logits."""

from pathlib import Path

import pytest
import torch
from transformers import Cohere2ForCausalLM

from tests.families.small import small_model
from xlharm.errors import UserError
from xlharm.evaluate.checks import check_base
from xlharm.evaluate.generate import generate
from xlharm.model.base import load_base
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.targets import all_linear, layers_on_meta
from xlharm.model.text import has_other_parts
from xlharm.plan.base_files import folder_base

IDS = torch.tensor([[5, 9, 31, 44, 8, 300, 77]])
QUICK = {"mistral3": "MistralForCausalLM", "qwen2_5_vl": "TextModel"}
SLOW = {"gemma3": "Gemma3ForCausalLM", "llava": "LlamaForCausalLM", "qwen3_vl": "TextModel",
        "qwen3_vl_moe": "TextModel", "llama4": "Llama4ForCausalLM"}  # fmt: skip


@pytest.mark.parametrize("kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)])
@torch.no_grad()
def test_a_whole_is_loaded_as_its_text_part(kind: str, tmp_path: Path) -> None:
    whole = small_model(kind)
    whole.save_pretrained(tmp_path)
    source = folder_base(tmp_path)
    assert source.family == whole.config.get_text_config().model_type
    model = load_base(source, dtype="float32", device=torch.device("cpu"))
    assert type(model).__name__ == {**QUICK, **SLOW}[kind]
    assert not has_other_parts(model)
    expected = whole(input_ids=IDS, use_cache=False).logits
    torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, expected, rtol=1e-4, atol=1e-4)
    targets = all_linear(model)
    assert tuple(layers_on_meta(str(tmp_path), revision=None, trust_remote_code=False)) == targets
    stacked = StackedModel(model, layout_of(model, rank=2, alpha=4, targets=targets))
    check_base(stacked, longest=20)
    (answers,) = generate(
        stacked,
        torch.zeros(1, stacked.layout.size),
        [tuple(IDS[0].tolist())],
        stops=frozenset(),
        max_new_tokens=4,
        rows=1,
    )
    ids = IDS
    for _ in range(4):
        ids = torch.cat([ids, whole(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert list(answers[0]) == ids[0, IDS.shape[1] :].tolist()


def test_a_whole_with_other_logits_than_its_text_part_is_one_line_and_its_part_can_be_saved(tmp_path: Path) -> None:
    whole = small_model("aya_vision")
    whole.save_pretrained(tmp_path / "whole")  # transformers leaves out the text part's logit_scale
    with pytest.raises(UserError, match=r"AyaVision\w+ that reads text and gives its logits: save the part"):
        load_base(folder_base(tmp_path / "whole"), dtype="float32", device=torch.device("cpu"))
    text = Cohere2ForCausalLM(whole.config.text_config).to(whole.dtype)  # as docs/families.md says
    text.model.load_state_dict(whole.model.language_model.state_dict())
    text.tie_weights()
    text.save_pretrained(tmp_path / "text")
    model = load_base(folder_base(tmp_path / "text"), dtype="float32", device=torch.device("cpu"))
    logits, scale = whole(input_ids=IDS, use_cache=False).logits, whole.config.text_config.logit_scale
    torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, scale * logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_plain_text_model_answers_by_transformers_own_generate(tmp_path: Path) -> None:
    whole = small_model("qwen2_5_vl")
    whole.save_pretrained(tmp_path)
    model = load_base(folder_base(tmp_path), dtype="float32", device=torch.device("cpu"))
    stacked = StackedModel(model, layout_of(model, rank=2, alpha=4, targets=("q_proj",)), path="generic")
    assert "decoding steps: within" in check_base(stacked, longest=20)
    assert stacked.caches
