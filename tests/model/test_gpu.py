"""On a GPU other kernels run: grouped products in bfloat16, captured steps, compiled layers of changing lengths."""

import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from xlharm.evaluate.generate import generate
from xlharm.model.lora import AdapterPool, StackedModel, layout_of
from xlharm.model.ragged import Ragged, last_states
from xlharm.train.forward import PackModel
from xlharm.train.replay import Replays

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def stacked_base(*, compiled: bool, dtype: torch.dtype = torch.bfloat16, layers: int = 2) -> StackedModel:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=layers,
                         num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    config._attn_implementation = "sdpa"
    model = LlamaForCausalLM(config).to("cuda", dtype).requires_grad_(requires_grad=False).eval()
    return StackedModel(model, layout_of(model, rank=8, alpha=8, targets=LINEARS), compiled=compiled)


def adapters(stacked: StackedModel, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(count, stacked.layout.size, generator=generator) * 0.05).cuda()


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_replayed_groups_and_their_gradients_are_those_of_each_group_alone(compiled: bool) -> None:
    torch._dynamo.reset()
    stacked, plain = stacked_base(compiled=compiled), stacked_base(compiled=False)
    model = PackModel(stacked, AdapterPool(slots=3, size=stacked.layout.size, device=torch.device("cuda")))
    replays = Replays(model._last)
    generator = random.Random(0)
    for step in range(9):
        values = adapters(stacked, 3) * (1 + step / 10)
        groups = [[tuple(generator.choices(range(512), k=generator.randint(40, 60))) for _ in range(n)]
                  for n in (3, 1, 2)]  # fmt: skip
        ragged = Ragged.of(groups, pad=0, uneven=stacked.uneven, steady=60).to(torch.device("cuda"))
        assert ragged.ends is not None
        together = values.to(torch.bfloat16).requires_grad_()
        states = replays(together, ragged)
        weights = torch.randn(sum(len(row) for rows in groups for row in rows), 256, device=states.device)
        real = torch.cat([torch.arange(sum(map(len, g))) + at for g, at in zip(groups, ragged.starts, strict=True)])
        (states[real.to(states.device)].float() * weights).sum().backward()
        assert together.grad is not None
        at = 0
        for k, rows in enumerate(groups):
            size = sum(map(len, rows))
            alone = values[k : k + 1].clone().requires_grad_()
            with plain.adapters(alone):
                told = last_states(plain.model, Ragged.of([rows], pad=0).to(states.device))[:size]
            (told.float() * weights[at : at + size]).sum().backward()
            assert alone.grad is not None
            assert (states[ragged.starts[k] :][:size] - told).norm() < 0.02 * told.norm()
            assert (together.grad[k] - alone.grad[0]).norm() < 0.03 * alone.grad.norm()
            at += size
    assert replays.held


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_captured_steps_answer_as_plain_forwards_do(compiled: bool) -> None:
    torch._dynamo.reset()
    stacked = stacked_base(compiled=compiled, dtype=torch.float32)
    values = adapters(stacked, 3)
    prompts = [tuple((5 * i + n) % 512 for i in range(n)) for n in (3, 11, 7, 20)]
    told = generate(stacked, values, prompts, stops=frozenset(), max_new_tokens=9, rows=9)
    stacked = stacked_base(compiled=False, dtype=torch.float32)
    for k in range(3):
        for prompt, answer in zip(prompts, told[k], strict=True):
            ids = list(prompt)
            with torch.no_grad(), stacked.adapters(values[k : k + 1]):
                for _ in range(9):
                    ids.append(int(stacked.model(torch.tensor([ids]).cuda()).logits[0, -1].argmax()))
            assert ids[len(prompt) :] == answer
