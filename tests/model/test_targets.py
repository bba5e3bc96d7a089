"""The layers that adapters are put on: linear, inside the decoder, called, no router and no single expert."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.families.small import small_config, small_model
from xlharm.model.adapter_files import save_adapter
from xlharm.model.base import decoder
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.targets import all_linear, main

LISTED = {
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "bloom": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    "mixtral": ("q_proj", "k_proj", "v_proj", "o_proj", "experts.gate_up_proj", "experts.down_proj"),
    "mamba": ("in_proj", "x_proj", "out_proj"),  # dt_proj has a weight that is used without calling it
    "bert": ("query", "key", "value", "dense"),
}


@pytest.mark.parametrize("kind", LISTED)
def test_they_are_the_same_with_weights_and_from_the_configuration_alone(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_config(kind).save_pretrained(tmp_path)
    main([str(tmp_path)])
    listed = json.loads(capsys.readouterr().out)
    model = small_model(kind)
    assert tuple(listed) == all_linear(model) == LISTED[kind]
    layout = layout_of(model, rank=3, alpha=6, targets=LISTED[kind])
    assert 3 * sum(widths for widths, _ in listed.values()) == layout.size
    weights = sum(model.get_parameter(s.name + ("" if s.experts else ".weight")).numel() for s in layout.segments)
    assert sum(weights for _, weights in listed.values()) == weights


def test_routers_and_lists_of_experts_have_no_adapters() -> None:
    model = small_model("llama")
    layer = decoder(model).layers[0]
    layer.gate = nn.Linear(4, 4)
    layer.experts = nn.ModuleList([nn.ModuleDict({"up_proj": nn.Linear(4, 4)})])
    names = {segment.name for segment in layout_of(model, rank=2, alpha=4, targets=("up_proj",)).segments}
    assert names == {"model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"}
    with pytest.raises(ValueError, match="the base has no layer 'gate'"):
        layout_of(model, rank=2, alpha=4, targets=("gate",))


@pytest.mark.slow
@torch.no_grad()
def test_an_adapter_on_transposed_weights_loads_in_peft(tmp_path: Path) -> None:
    from peft import PeftModel

    model, other = small_model("gpt2"), small_model("gpt2")
    layout = layout_of(model, rank=2, alpha=4, targets=("c_attn", "c_proj"))
    vector = torch.randn(1, layout.size, generator=torch.Generator().manual_seed(0)) * 0.1
    save_adapter(vector[0], tmp_path, layout=layout, base_name="gpt2")
    stacked, ids = StackedModel(model, layout), torch.tensor([[5, 9, 2, 77]])
    with stacked.adapters(vector):
        logits = model(input_ids=ids, use_cache=False).logits
    peft = PeftModel.from_pretrained(other, tmp_path)
    torch.testing.assert_close(logits, peft(input_ids=ids, use_cache=False).logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_adapter_on_a_transposed_weight_is_that_of_the_merged_weight() -> None:
    model = small_model("gpt2")
    layout = layout_of(model, rank=2, alpha=4, targets=("c_attn", "c_fc"))
    assert all(segment.transposed for segment in layout.segments)
    vector = torch.randn(1, layout.size, generator=torch.Generator().manual_seed(0)) * 0.1
    stacked, ids = StackedModel(model, layout), torch.tensor([[5, 9, 2, 77]])
    with stacked.adapters(vector):
        logits = model(input_ids=ids, use_cache=False).logits
    for s in layout.segments:
        a = vector[0, s.offset : s.offset + 2 * s.fan_in].view(2, s.fan_in)
        b = vector[0, s.offset + 2 * s.fan_in : s.offset + 2 * (s.fan_in + s.fan_out)].view(s.fan_out, 2)
        model.get_submodule(s.name).weight.add_(layout.scale * (b @ a).T)
    torch.testing.assert_close(logits, model(input_ids=ids, use_cache=False).logits, rtol=1e-4, atol=1e-4)
