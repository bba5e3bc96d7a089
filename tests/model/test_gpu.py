"""On a GPU other kernels run: grouped products in bfloat16, captured steps, compiled layers of changing lengths."""

import random
from dataclasses import dataclass

import pytest
import torch
from torch._inductor.codecache import CppPythonBindingsCodeCache
from transformers import LlamaConfig, LlamaForCausalLM

from tests.families.small import small_model
from xlharm.config.training import Training
from xlharm.corpus.rows import Row
from xlharm.corpus.sampling import BatchPart, Stream
from xlharm.evaluate.checks import check_base
from xlharm.evaluate.generate import generate
from xlharm.model.attention import attention_scores
from xlharm.model.layout import layout_of
from xlharm.model.lora import AdapterPool, StackedModel
from xlharm.model.ragged import Ragged, last_states
from xlharm.model.targets import all_linear
from xlharm.stages.context import join_group
from xlharm.train.engine import PackEngine
from xlharm.train.forward import PackModel
from xlharm.train.loop import train_pack
from xlharm.train.replay import Replays
from xlharm.train.slots import BatchShare, Slot, Trained
from xlharm.train.terms import FINE_TUNING

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def stacked_base(
    *, compiled: bool, dtype: torch.dtype = torch.bfloat16, layers: int = 2, width: int = 256
) -> StackedModel:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=512, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
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
        ragged = Ragged.of(groups, uneven=stacked.uneven, steady=60).to(torch.device("cuda"))
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
                states_alone = last_states(plain.model, Ragged.of([rows]).to(states.device))[:size]
            (states_alone.float() * weights[at : at + size]).sum().backward()
            assert alone.grad is not None
            assert (states[ragged.starts[k] :][:size] - states_alone).norm() < 0.02 * states_alone.norm()
            assert (together.grad[k] - alone.grad[0]).norm() < 0.03 * alone.grad.norm()
            at += size
    assert replays.held
    assert not CppPythonBindingsCodeCache.cache  # a number that is computed on the host takes a C++ compiler 45 s


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_captured_steps_answer_as_plain_forwards_do(compiled: bool) -> None:
    torch._dynamo.reset()
    stacked = stacked_base(compiled=compiled, dtype=torch.float32)
    values = adapters(stacked, 3)
    prompts = [tuple((5 * i + n) % 512 for i in range(n)) for n in (3, 11, 7, 20)]
    answers = generate(stacked, values, prompts, stops=frozenset(), max_new_tokens=9, rows=9)
    stacked = stacked_base(compiled=False, dtype=torch.float32)
    for k in range(3):
        for prompt, answer in zip(prompts, answers[k], strict=True):
            ids = list(prompt)
            with torch.no_grad(), stacked.adapters(values[k : k + 1]):
                for _ in range(9):
                    ids.append(int(stacked.model(torch.tensor([ids]).cuda()).logits[0, -1].argmax()))
            assert ids[len(prompt) :] == answer


@dataclass(frozen=True)
class Drawn:
    """Two rows a step: of ``lengths`` at first, of twice as many tokens from step 6 on if they grow."""

    seed: int
    lengths: tuple[int, int]
    grow: bool = False
    purpose: str = "rows"

    def row(self, index: int) -> Row:
        rng = random.Random(f"{self.seed} {index}")
        length = rng.randint(*self.lengths) * (2 if self.grow and index >= 12 else 1)
        return Row(tuple(rng.choices(range(512), k=length)), 1)

    def rows(self) -> list[Row]:
        return [self.row(i) for i in range(24)]


def trained(engine: PackEngine, draws: list[Drawn], *, rows: BatchShare) -> list[Trained]:
    training = Training(steps=10, learning_rate=1e-3, schedule="constant")
    slots = [
        Slot(training=training, terms=FINE_TUNING, stream=Stream((BatchPart(draw, 2),)), mask=None,
             initial=engine.layout.initial(seed=draw.seed))
        for draw in draws
    ]  # fmt: skip
    return train_pack(engine, slots, rows=rows)


def engine_of(stacked: StackedModel, *, slots: int, zero: int = 0) -> PackEngine:
    device = torch.device("cuda")
    join_group(rank=0, world=1, master=None, device=device)
    return PackEngine(stacked, slots=slots, zero=zero, world=1, device=device)


def apart(results: list[Trained], expected: list[Trained], *, initial: torch.Tensor) -> float:
    pairs = zip(results, expected, initial, strict=True)
    return max(float((a.adapter - b.adapter).norm() / (b.adapter - start).norm()) for a, b, start in pairs)


@pytest.mark.parametrize("zero", [0, 2])
@pytest.mark.parametrize("micro", [None, 1])
def test_replayed_steps_train_as_plain_ones_in_one_bite_and_in_two(
    micro: int | None, zero: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = [Drawn(seed, (40, 60)) for seed in range(3)]
    results = []
    for captured in (True, False):
        monkeypatch.setattr(PackModel, "captures", captured)
        engine = engine_of(stacked_base(compiled=False, dtype=torch.float32), slots=3, zero=zero)
        results.append(trained(engine, draws, rows=BatchShare(micro=micro)))
    initial = torch.stack([engine.layout.initial(seed=draw.seed) for draw in draws])
    assert apart(*results, initial=initial) < 0.02


def test_captured_steps_are_given_up_before_a_step_is_cut_where_memory_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = [Drawn(seed, (240, 250), grow=True) for seed in range(4)]
    engine = engine_of(stacked_base(compiled=False, layers=8, width=1024), slots=4)
    initial = torch.stack([engine.layout.initial(seed=draw.seed) for draw in draws])
    monkeypatch.setattr(PackEngine, "steady", True)  # the same rows in the same places
    monkeypatch.setattr(PackModel, "captures", False)
    trained(engine, draws, rows=BatchShare())  # what libraries take for once
    torch.cuda.reset_peak_memory_stats()
    expected = trained(engine, draws, rows=BatchShare())
    needed = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    monkeypatch.setattr(PackModel, "captures", True)
    given_up: list[bool] = []
    begin_again = PackEngine.begin_again
    monkeypatch.setattr(PackEngine, "begin_again", lambda self: given_up.append(begin_again(self)) or given_up[-1])
    # steps of half as many tokens, captured, hold half as much again
    torch.cuda.set_per_process_memory_fraction(1.2 * needed / torch.cuda.get_device_properties(0).total_memory)
    try:
        results = trained(engine, draws, rows=BatchShare())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert given_up == [True]
    assert engine.most_tokens == float("inf")
    assert apart(results, expected, initial=initial) < 0.1


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_attention_scores_are_not_rounded_to_bfloat16(compiled: bool) -> None:
    """One token a row against a cache, as decoding has it; the rounded products show what the bound is worth."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    query, key = (3 * torch.randn(64, 8, n, 128, device="cuda", dtype=torch.bfloat16) for n in (4, 224))
    scores = torch.compile(attention_scores) if compiled else attention_scores
    exact = torch.matmul(query.double(), key.double().transpose(-1, -2)) * 128**-0.5
    ours = scores(query, key, 128**-0.5, softcap=None)
    rounded = torch.matmul(query, key.transpose(-1, -2)).float() * 128**-0.5
    assert ours.dtype == torch.float32
    assert float((ours - exact).abs().max()) < 1e-4
    assert float((rounded - exact).abs().max()) > 0.05
    assert float((ours.softmax(-1) - exact.softmax(-1)).abs().max()) < 1e-5


def test_gradients_through_scores_are_those_of_the_products() -> None:
    torch.manual_seed(0)
    query, key = (torch.randn(2, 3, n, 16, device="cuda", dtype=torch.bfloat16, requires_grad=True) for n in (5, 7))
    weights = torch.randn(2, 3, 5, 7, device="cuda")
    mine = torch.autograd.grad((attention_scores(query, key, 0.25, softcap=2.0) * weights).sum(), (query, key))
    exact = 2.0 * torch.tanh(0.25 * torch.matmul(query.double(), key.double().transpose(-1, -2)) / 2.0)
    theirs = torch.autograd.grad((exact * weights).sum(), (query, key))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.float(), b.float(), rtol=0.03, atol=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_adapters_of_experts_are_those_of_the_plain_forward(kind: str, dtype: torch.dtype) -> None:
    model = small_model(kind).to("cuda", dtype)
    layout = layout_of(model, rank=8, alpha=8, targets=all_linear(model))
    stacked = StackedModel(model, layout, compiled=True)
    assert not stacked.compiled
    assert "decoding steps" in check_base(stacked, longest=40)
    values = adapters(stacked, 2).to(dtype).requires_grad_()
    groups = [[tuple(range(3, 26)), tuple(range(30, 36))], [tuple(range(50, 90))]]
    grads = []
    for some, rows in (([0, 1], groups), ([0], groups[:1]), ([1], groups[1:])):
        ragged = stacked.rows(rows).to(torch.device("cuda"))
        with stacked.adapters(values[some], ends=ragged.ends):
            states = last_states(model, ragged)
        real = torch.cat([states[at : at + sum(map(len, r))] for at, r in zip(ragged.starts, rows, strict=True)])
        grads.append(torch.autograd.grad(real.float().square().sum(), values)[0].float())
    apart = (grads[0] - grads[1] - grads[2]).norm() / grads[0].norm()
    assert float(apart) < (1e-3 if dtype == torch.float32 else 5e-2)
