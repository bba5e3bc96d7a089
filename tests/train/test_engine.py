"""The engine's state: what is saved, and what goes on from it."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.ragged import Ragged
from xlharm.stages.context import join_group
from xlharm.train.engine import PackEngine
from xlharm.train.forward import Request

CPU = torch.device("cpu")
IDS = torch.arange(16).view(2, 8)


def step(engine: PackEngine) -> None:
    requests = [Request(positions=torch.arange(7), labels=row[1:]) for row in IDS]
    results = engine(Ragged.of([[row] for row in IDS.tolist()]), requests)
    engine.backward(-torch.stack([t.logp.mean() for t in results]).sum(), last=True)
    engine.step([1e-2, 1e-2])


@pytest.mark.slow
def test_a_stopped_slot_keeps_its_restored_adapter_while_others_go_on() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config).requires_grad_(requires_grad=False)
    layout = layout_of(model, rank=2, alpha=2, targets=("q_proj", "v_proj"))
    join_group(rank=0, world=1, master=None, device=CPU)
    engine = PackEngine(StackedModel(model, layout), slots=2, zero=2, world=1, device=CPU)
    initial = [layout.initial(seed=i) for i in range(2)]
    nowhere = [None, None]
    engine.load(initial, masks=nowhere, active=[True, True])
    step(engine)
    engine.stop(0)
    stopped = engine.reference()[0].clone()
    state = engine.state()
    step(engine)
    undisturbed = engine.reference()
    assert torch.equal(undisturbed[0], stopped)

    engine.load(initial, masks=nowhere, active=[True, True])
    engine.load_state(state)
    engine.stop(0)
    step(engine)
    resumed = engine.reference()
    assert not torch.equal(stopped, initial[0])
    assert torch.equal(resumed[0], undisturbed[0])
    assert torch.equal(resumed[1], undisturbed[1])
