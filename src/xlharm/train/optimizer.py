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
    ZeRO has partitioned the parameters, the norm is summed over the data-parallel group on the device ``across``.

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
        self.across: torch.device | None = None
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
        found = {"param": p, **{name: self.state[p][name] for name in ("exp_avg", "exp_avg_sq", "step")}}
        return {name: tensor.detach().cpu().clone() for name, tensor in found.items()}

    def resume(self, index: int, snapshot: dict[str, Tensor]) -> None:
        """Continue a group from a snapshot at its next step (ZeRO shows its partition only then)."""
        self._resumed[index] = snapshot

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override] # takes no closure
        """Update the active slots that have a gradient."""
        assert closure is None
        for index, group in enumerate(self.param_groups):
            # ZeRO 3 steps one group at a time and shows the others empty.
            if group["active"] and group["params"] and group["params"][0].grad is not None:
                self._update(index, group)

    def _update(self, index: int, group: dict[str, Any]) -> None:
        (p,) = group["params"]
        state = self._state(index, p)
        norm = torch.linalg.vector_norm(p.grad, dtype=torch.float32)
        if self.across is not None:
            square = norm.square().to(self.across)  # an offloaded group's gradient lies where NCCL cannot reach it
            dist.all_reduce(square)
            norm = square.sqrt().to(norm.device)
        state["step"] += 1
        # torch's own fused AdamW: one pass over the adapter, gradients divided by a scale that stays on the device
        torch._fused_adamw_(
            [p], [p.grad], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]],
            lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
            eps=group["eps"], amsgrad=False, maximize=False,
            grad_scale=((norm + 1e-6) / group["clip"]).clamp(min=1.0), found_inf=None,
        )  # fmt: skip

    def _state(self, index: int, p: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[p]
        if not state:
            moments = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
            state.update(moments, step=torch.zeros((), dtype=torch.float32, device=p.device))
            resumed = self._resumed.pop(index, None)
            if resumed:
                p.copy_(resumed["param"])
                for name in ("exp_avg", "exp_avg_sq", "step"):
                    state[name].copy_(resumed[name])
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
