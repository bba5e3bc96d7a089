"""AdamW over a pool of adapters: one parameter group a slot, with its own rate and its own clip."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class SlotAdamW(torch.optim.Optimizer):
    """AdamW (1711.05101) in which every parameter group is one trial.

    A group's gradients are clipped to its own norm, so trials that share a pack never see each other. When
    ZeRO has partitioned the parameters, the norm is summed over the data-parallel group.

    Args:
        slots: one parameter for each slot.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
    """

    def __init__(self, slots: Iterable[Tensor], *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        groups: list[dict[str, Any]] = [{"params": [slot]} for slot in slots]
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "clip": 1.0, "active": True, "betas": betas, "eps": eps})
        self.partitioned = False
        self.norms: list[Tensor | None] = [None] * len(groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update the active slots that have a gradient."""
        assert closure is None
        for index, group in enumerate(self.param_groups):
            if group["active"]:
                self._update(index, group)

    def _update(self, index: int, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        square = sum((p.grad.float().square().sum() for p in params), torch.zeros((), device=group["params"][0].device))
        if self.partitioned:
            dist.all_reduce(square)
        if not params:
            return
        norm = square.sqrt()
        self.norms[index] = norm
        factor = (group["clip"] / (norm + 1e-6)).clamp(max=1.0)
        beta1, beta2 = group["betas"]
        for p in params:
            state = self.state[p]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(p)
                state["exp_avg_sq"] = torch.zeros_like(p)
            state["step"] += 1
            grad = p.grad.mul_(factor)
            state["exp_avg"].lerp_(grad, 1 - beta1)
            state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            first = group["lr"] / (1 - beta1 ** state["step"])
            root = (state["exp_avg_sq"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.addcdiv_(state["exp_avg"], root, value=-first)


def scheduled_rate(step: int, *, steps: int, rate: float, warmup: int, schedule: str) -> float:
    """Return the learning rate of a step (0-based): linear warm-up, then the schedule down to 0.

    Raises:
        ValueError: an unknown schedule.
    """
    if step < warmup:
        return rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    match schedule:
        case "constant":
            return rate
        case "linear":
            return rate * (1 - progress)
        case "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * progress))
    raise ValueError(f"unknown schedule {schedule!r}")
