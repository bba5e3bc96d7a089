"""Adapters on stacked experts: what PEFT computes with `target_parameters`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.families.reference import Reference, rows_of
from tests.families.small import small_model
from xlharm.corpus.rows import Row
from xlharm.errors import UserError
from xlharm.evaluate.generate import generate
from xlharm.evaluate.likelihood import likelihoods
from xlharm.model.adapter_files import load_adapter, save_adapter
from xlharm.model.experts import stacked_parameters
from xlharm.model.layout import Layout, layout_of
from xlharm.model.lora import AdapterPool, StackedModel, uninstall
from xlharm.plan.families import Path as Way
from xlharm.train.forward import PackModel, Request

TARGETS = ("q_proj", "experts.gate_up_proj", "experts.down_proj")
WAYS: tuple[Way, ...] = ("fast", "generic")


def stacked_of(kind: str, *, rank: int, path: Way = "fast") -> StackedModel:
    model = small_model(kind)
    return StackedModel(model, layout_of(model, rank=rank, alpha=2 * rank, targets=TARGETS), path=path)


def random(layout: Layout, count: int) -> Tensor:
    return torch.randn(count, layout.size, generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.mark.parametrize("rank", [4, 3])  # with torch's grouped products, and without
@pytest.mark.parametrize("path", WAYS)
@torch.no_grad()
def test_each_token_gets_the_adapter_of_its_row_and_its_expert(path: Way, rank: int, tmp_path: Path) -> None:
    stacked = stacked_of("mixtral", rank=rank, path=path)
    values, rows = random(stacked.layout, 2), rows_of(3, (6, 2, 9, 23))
    found = likelihoods(stacked, values, [Row(row, 1) for row in rows], batch=6)
    small_model("mixtral").save_pretrained(tmp_path)
    reference = Reference(tmp_path, stacked.layout, dtype=torch.float32)
    for k, value in enumerate(values):
        for row, likelihood in zip(rows, found[k], strict=True):
            torch.testing.assert_close(torch.tensor(likelihood.logp), reference.logp(value, row), rtol=0, atol=1e-4)


def test_a_new_adapter_changes_nothing_and_has_its_own_numbers_for_each_expert() -> None:
    stacked = stacked_of("mixtral", rank=2)
    new, ids = stacked.layout.initial(seed=7), torch.tensor([[5, 9, 2, 77]])
    segment = next(s for s in stacked.layout.segments if s.experts)
    a, b = segment.factors(new, rank=2)
    assert a.shape == (4, 2, segment.fan_in)
    assert len({tuple(row) for row in a.flatten(0, 1)[:, :3].tolist()}) == 8
    assert not b.any()
    assert float(a.abs().max()) <= segment.fan_in**-0.5
    with torch.no_grad(), stacked.adapters(new[None]):
        adapted = stacked.model(input_ids=ids, use_cache=False).logits
    uninstall(stacked.model)
    torch.testing.assert_close(adapted, stacked.model(input_ids=ids, use_cache=False).logits, rtol=1e-5, atol=1e-5)


def test_a_mask_of_layers_covers_their_experts() -> None:
    layout = stacked_of("mixtral", rank=2).layout
    mask = layout.mask([1])
    assert mask is not None
    for s, trained in (
        (s, mask[s.offset : s.offset + s.matrices * 2 * (s.fan_in + s.fan_out)]) for s in layout.segments
    ):
        assert trained.unique().tolist() == [float(s.layer == 1)]


def test_experts_of_another_kind_are_no_targets() -> None:
    for kind in ("llama4_text", "dbrx", "longcat_flash", "jetmoe", "llama"):
        assert not stacked_parameters(small_model(kind))
    with pytest.raises(UserError, match=r"lora.target_modules: the base has no layer 'experts.down_proj'"):
        layout_of(small_model("llama4_text"), rank=2, alpha=4, targets=("experts.down_proj",))


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_files_come_back_and_name_parameters_as_peft_does(kind: str, tmp_path: Path) -> None:
    layout = stacked_of(kind, rank=2).layout
    (vector,) = random(layout, 1)
    save_adapter(vector, tmp_path, layout=layout, base_name="base")
    assert torch.equal(load_adapter(tmp_path, layout=layout), vector)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj"]
    assert config["target_parameters"] == ["experts.down_proj", "experts.gate_up_proj"]
    assert config["fan_in_fan_out"] is False


def peft_of(kind: str, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(small_model(kind), str(folder), is_trainable=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss", "olmoe", "qwen3_moe"])
def test_three_steps_are_those_of_peft(kind: str, tmp_path: Path) -> None:
    """Both adapters of a pack, against PEFT with one at a time: losses, gradients, steps, answers."""
    from peft import get_peft_model_state_dict

    stacked = stacked_of(kind, rank=4)
    layout, groups = stacked.layout, [rows_of(0, (23, 6)), rows_of(1, (40, 3, 11))]
    pool = AdapterPool(slots=2, size=layout.size, device=torch.device("cpu"))
    theirs = []
    for k, value in enumerate(random(layout, 2)):
        pool.slots[k].data.copy_(value)
        (folder := tmp_path / f"begin{k}").mkdir()
        save_adapter(value, folder, layout=layout, base_name="base")
        theirs.append(peft_of(kind, folder))
    ours = torch.optim.AdamW(pool.parameters(), lr=1e-2)
    each = [torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2) for model in theirs]
    model, ragged = PackModel(stacked, pool), stacked.rows(groups)
    for _ in range(3):
        losses = [-logp.mean() for logp, _, _ in model(ragged, [request_of(rows) for rows in groups], [None, None])]
        ours.zero_grad()
        torch.stack(losses).sum().backward()
        ours.step()
        for loss, other, optimizer, rows in zip(losses, theirs, each, groups, strict=True):
            expected = -torch.cat([plain(other, row) for row in rows]).mean()
            torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
            optimizer.zero_grad()
            expected.backward()
            optimizer.step()
    for k, other in enumerate(theirs):
        (folder := tmp_path / f"end{k}").mkdir()
        save_adapter(pool.slots[k].detach(), folder, layout=layout, base_name="base")
        found, expected = (
            load_file(folder / "adapter_model.safetensors"),
            get_peft_model_state_dict(other, save_embedding_layers=False),
        )
        assert found.keys() == expected.keys()
        apart = max(float((found[name] - expected[name]).abs().max()) for name in found)
        assert apart < 2e-3  # a step of AdamW is 1e-2, whatever the gradient's size
        prompts = rows_of(5, (6, 2, 9))
        answers = generate(stacked, torch.stack(list(pool.slots)), prompts, stops=frozenset(), max_new_tokens=6, rows=4)
        for prompt, answer in zip(prompts, answers[k], strict=True):
            assert greedy(other, prompt) == list(answer)


def request_of(rows: list[tuple[int, ...]]) -> Request:
    places, labels, at = [], [], 0
    for row in rows:
        places += range(at, at + len(row) - 1)
        labels += row[1:]
        at += len(row)
    return Request(positions=torch.tensor(places), labels=torch.tensor(labels))


def plain(model: Any, row: tuple[int, ...]) -> Tensor:
    logp = model(input_ids=torch.tensor([row]), use_cache=False).logits[0, :-1].float().log_softmax(-1)
    return logp.gather(-1, torch.tensor(row[1:])[:, None])[:, 0]


@torch.no_grad()
def greedy(model: Any, prompt: tuple[int, ...]) -> list[int]:
    ids = list(prompt)
    for _ in range(6):
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]
