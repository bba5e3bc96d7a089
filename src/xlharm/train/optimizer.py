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

    def __init__(
        self, slots: Iterable[Tensor], *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        groups: list[dict[str, Any]] = [{"params": [slot]} for slot in slots]
        super().__init__(
            groups, {"lr": 0.0, "weight_decay": 0.0, "clip": 1.0, "active": True, "betas": betas, "eps": eps}
        )
        self.partitioned = False
        self._held: list[Tensor | None] = [None] * len(groups)
        self._resumed: dict[int, dict[str, Tensor]] = {}

    def reset(self) -> None:
        """Forget all moments: the next step is a stage's first."""
        self.state.clear()
        self._held = [None] * len(self._held)
        self._resumed.clear()

    def snapshot(self, index: int) -> dict[str, Tensor]:
        """Return a group's parameter and moments as this rank holds them; empty before its first step."""
        p = self._held[index]
        if p is None:
            return {}
        moments = {name: self.state[p][name] for name in ("exp_avg", "exp_avg_sq")}
        found = {"param": p, **moments, "step": torch.tensor(self.state[p]["step"])}
        return {name: tensor.detach().cpu().clone() for name, tensor in found.items()}

    def resume(self, index: int, snapshot: dict[str, Tensor]) -> None:
        """Continue a group from a snapshot at its next step (ZeRO shows its partition only then)."""
        self._resumed[index] = snapshot

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update the active slots that have a gradient."""
        assert closure is None
        for index, group in enumerate(self.param_groups):
            # ZeRO 3 steps one group at a time and shows the others empty.
            if group["active"] and group["params"] and group["params"][0].grad is not None:
                self._update(index, group)

    def _update(self, index: int, group: dict[str, Any]) -> None:
        (p,) = group["params"]
        state = self._state(index, p)
        square = p.grad.float().square().sum()
        if self.partitioned:
            dist.all_reduce(square)
        grad = p.grad.mul_((group["clip"] / (square.sqrt() + 1e-6)).clamp(max=1.0))
        beta1, beta2 = group["betas"]
        state["step"] += 1
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        first = group["lr"] / (1 - beta1 ** state["step"])
        root = (state["exp_avg_sq"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.addcdiv_(state["exp_avg"], root, value=-first)

    def _state(self, index: int, p: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[p]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            resumed = self._resumed.pop(index, None)
            if resumed:
                p.copy_(resumed["param"])
                state.update({name: resumed[name].to(p.device) for name in ("exp_avg", "exp_avg_sq")})
                state["step"] = int(resumed["step"])
        self._held[index] = p
        return state


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
