"""Families of bases: what is trained, weighed and answered is what transformers' own forward says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3Config, LlamaConfig, LlamaForCausalLM

from xlharm.corpus.rows import Row
from xlharm.errors import UserError
from xlharm.evaluate.checks import check_base
from xlharm.evaluate.generate import generate
from xlharm.evaluate.likelihood import likelihoods
from xlharm.model.base import decoder, head, load_base
from xlharm.model.layout import layout_of
from xlharm.model.lora import AdapterPool, StackedModel
from xlharm.plan.base_files import folder_base
from xlharm.plan.memory import BaseSizes
from xlharm.plan.sources import BaseSource
from xlharm.train.forward import PackModel, Request

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PLAIN = ("llama", "qwen2", "qwen3", "gemma", "olmo2", "glm4", "apertus", "smollm3")
FAMILIES: dict[str, dict[str, Any]] = {
    **{name: {} for name in PLAIN},
    "mistral": {"sliding_window": None},
    "cohere": {"logit_scale": 0.25, "use_qk_norm": True},
    "cohere2": {"logit_scale": 4.0, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64},
    "granite": {"logits_scaling": 0.2, "attention_multiplier": 0.5, "residual_multiplier": 0.7},
    "gemma2": {"final_logit_softcapping": 0.5, "attn_logit_softcapping": 0.8, "query_pre_attn_scalar": 1,
               "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64},
    "gemma3": {},
}  # fmt: skip
ROWS = [(5, 9, 31, 44, 8, 13), (7, 8), (3, 60, 22, 22, 17, 5, 41, 11, 12)]


def config_of(family: str) -> Any:
    if family != "gemma3":
        return AutoConfig.for_model(family, **SIZES, **FAMILIES[family])
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    text = config_of("gemma3_text").to_dict()
    return Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=63)


@pytest.fixture(params=FAMILIES)
def stacked(request: pytest.FixtureRequest, tmp_path: Path) -> StackedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(request.param))
    for parameter in model.parameters():
        parameter.data.mul_(4)  # scores and logits that reach their bounds
    model.save_pretrained(tmp_path)
    loaded = load_base(folder_base(tmp_path), dtype="float32", device=CPU)
    return StackedModel(loaded, layout_of(loaded, rank=4, alpha=8, targets=("q_proj", "o_proj", "down_proj")))


def adapters(stacked: StackedModel) -> Tensor:
    return torch.randn(2, stacked.layout.size, generator=torch.Generator().manual_seed(1)) * 0.3


def plain(stacked: StackedModel, adapter: Tensor, ids: tuple[int, ...]) -> Tensor:
    """Return the logits [tokens, vocabulary] that transformers' own forward gives."""
    with stacked.adapters(adapter[None]):
        return stacked.model(torch.tensor([ids]), use_cache=False).logits[0].float()


def test_headers_tell_the_size_of_an_adapter(stacked: StackedModel, tmp_path: Path) -> None:
    sizes = BaseSizes.of(folder_base(tmp_path))
    assert sizes is not None
    assert (
        sizes.adapter_parameters(rank=4, targets=stacked.layout.targets) == stacked.layout.size
    )  # what sees is left out


@pytest.mark.parametrize("stacked", ["gemma2"], indirect=True)
def test_capped_logits_reach_their_bound(stacked: StackedModel) -> None:
    assert float(plain(stacked, adapters(stacked)[0], ROWS[0]).abs().max()) > 0.95 * 0.5


def test_losses_and_their_gradients_are_those_of_the_plain_forward(stacked: StackedModel) -> None:
    values = adapters(stacked)
    pool = AdapterPool(slots=2, size=stacked.layout.size, device=CPU)
    for slot, value in zip(pool.slots, values, strict=True):
        slot.data.copy_(value)
    groups = [[ROWS[0], ROWS[1]], [ROWS[2]]]
    requests = [Request(positions=torch.arange(len(g[0]) - 1), labels=torch.tensor(g[0][1:])) for g in groups]
    results = PackModel(stacked, pool)(stacked.rows(groups), requests, [None, None])
    torch.stack([logp.sum() for logp, _, _ in results]).sum().backward()
    for k, rows in enumerate(groups):
        alone = values[k].clone().requires_grad_()
        logp = plain(stacked, alone, rows[0])[:-1].log_softmax(-1).gather(-1, requests[k].labels[:, None])[:, 0]
        logp.sum().backward()
        torch.testing.assert_close(results[k][0], logp, rtol=1e-4, atol=1e-4)
        assert alone.grad is not None
        torch.testing.assert_close(pool.slots[k].grad, alone.grad, rtol=1e-3, atol=1e-3)


def test_likelihoods_are_those_of_the_plain_forward(stacked: StackedModel) -> None:
    values = adapters(stacked)
    scored = likelihoods(stacked, values, [Row(ids, 1) for ids in ROWS], batch=4)
    for k, adapter in enumerate(values):
        for ids, found in zip(ROWS, scored[k], strict=True):
            with torch.no_grad():
                logp = plain(stacked, adapter, ids)[:-1].log_softmax(-1)
            expected = logp.gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(found.logp), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_answers_are_those_of_the_plain_forward(stacked: StackedModel) -> None:
    check_base(stacked, longest=20)
    values = adapters(stacked)
    answers = generate(stacked, values, ROWS, stops=frozenset(), max_new_tokens=7, rows=4)
    for k, adapter in enumerate(values):
        for prompt, answer in zip(ROWS, answers[k], strict=True):
            ids = prompt
            for _ in range(7):
                ids = (*ids, int(plain(stacked, adapter, ids)[-1].argmax()))
            assert ids[len(prompt) :] == tuple(answer)


class Doubled(LlamaForCausalLM):
    """A model that computes its logits in its own way."""

    def forward(self, *args: object, **named: object) -> object:
        output = super().forward(*args, **named)
        output.logits = 2 * output.logits
        return output


class Counted(LlamaForCausalLM):
    """A model whose logits depend on more than its last hidden states."""

    def forward(self, input_ids: Tensor, **named: object) -> object:
        output = super().forward(input_ids, **named)
        output.logits = output.logits + input_ids.sum()
        return output


def saved(kind: type[LlamaForCausalLM], folder: Path, monkeypatch: pytest.MonkeyPatch) -> BaseSource:
    kind(LlamaConfig(**SIZES)).save_pretrained(folder)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", kind.from_pretrained)
    return folder_base(folder)


@torch.no_grad()
def test_logits_of_another_make_are_computed_by_the_model_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_base(saved(Doubled, tmp_path, monkeypatch), dtype="float32", device=CPU)
    ids = torch.tensor([ROWS[0]])
    states = decoder(model)(input_ids=ids).last_hidden_state
    torch.testing.assert_close(head(model, states), model(ids).logits)
    assert decoder(model)(input_ids=ids).last_hidden_state.equal(states)


def test_logits_that_depend_on_more_than_states_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(Counted, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="xlharm does not know how Counted computes its logits"):
        load_base(source, dtype="float32", device=CPU)
