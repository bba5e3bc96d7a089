"""SlotAdamW is AdamW with a clip for each slot."""

import pytest
import torch

from xlharm.train.optimizer import SlotAdamW, scheduled_rate


def gradients(step: int, size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize(("clip", "decay"), [(1e9, 0.0), (0.5, 0.1)])
def test_equals_torch_adamw_with_clip_grad_norm(clip: float, decay: float) -> None:
    mine, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 9)) for _ in range(2))
    ours = SlotAdamW([mine])
    ours.param_groups[0].update(lr=0.01, clip=clip, weight_decay=decay)
    torchs = torch.optim.AdamW([theirs], lr=0.01, weight_decay=decay)
    for step in range(20):
        for p in (mine, theirs):
            p.grad = gradients(step, 9)
        torch.nn.utils.clip_grad_norm_([theirs], clip)
        ours.step()
        torchs.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_slots_do_not_see_each_other() -> None:
    together = [torch.nn.Parameter(torch.ones(4)) for _ in range(2)]
    alone = torch.nn.Parameter(torch.ones(4))
    pack, single = SlotAdamW(together), SlotAdamW([alone])
    for group in (*pack.param_groups, *single.param_groups):
        group.update(lr=0.1, clip=0.3)
    for step in range(3):
        together[0].grad = gradients(step, 4)
        together[1].grad = gradients(step + 50, 4) * 1e6
        alone.grad = gradients(step, 4)
        pack.step()
        single.step()
    assert torch.equal(together[0], alone)


def test_an_inactive_slot_stays() -> None:
    slot = torch.nn.Parameter(torch.ones(4))
    optimizer = SlotAdamW([slot])
    optimizer.param_groups[0].update(lr=0.1, active=False)
    slot.grad = torch.ones(4)
    optimizer.step()
    assert torch.equal(slot, torch.ones(4))


def test_schedules() -> None:
    def rates(schedule: str) -> list[float]:
        return [scheduled_rate(s, steps=6, rate=1.0, warmup=2, schedule=schedule) for s in range(6)]

    assert rates("linear") == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert rates("constant") == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert rates("cosine")[4] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="unknown"):
        rates("steps")


def test_a_warm_up_from_zero_is_that_of_transformers() -> None:
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=4, num_training_steps=10)
    for step in range(10):
        rate = scheduled_rate(step, steps=10, rate=1.0, warmup=4, schedule="linear", from_zero=True)
        assert rate == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
