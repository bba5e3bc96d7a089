"""AdamW over a pool of adapters. Each slot is a parameter group with its own learning rate and gradient clipping."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class SlotAdamW(torch.optim.Optimizer):
    """AdamW (1711.05101) in which every parameter group is one trial.

    A group's gradients are clipped by the group's own norm, so trials of one pack do not affect each other. If ZeRO
    has partitioned the parameters, the norm is summed over the data-parallel group, on the device ``across``.

    Args:
        slots: one parameter for each slot.
        betas: decay rates of the two moments.
        eps: added to the square root of the second moment.
    """

    def __init__(
        self, slots: Iterable[Tensor], *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        groups: list[dict[str, Any]] = [{"params": [slot]} for slot in slots]
        super().__init__(
            groups, {"lr": 0.0, "weight_decay": 0.0, "clip": 1.0, "active": True, "betas": betas, "eps": eps}
        )
        self.across: torch.device | None = None
        self._parameters: list[Tensor | None] = [None] * len(groups)
        self._resumed: dict[int, dict[str, Tensor]] = {}

    def reset(self) -> None:
        """Clear all moments, before the first step of a stage."""
        self.state.clear()
        self._parameters = [None] * len(self._parameters)
        self._resumed.clear()

    def snapshot(self, index: int) -> dict[str, Tensor]:
        """Return this rank's part of a group's parameter and moments; empty before the group's first step."""
        p = self._parameters[index]
        if p is None:
            return {}
        tensors = {"param": p, **{name: self.state[p][name] for name in ("exp_avg", "exp_avg_sq", "step")}}
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

    def resume(self, index: int, snapshot: dict[str, Tensor]) -> None:
        """Use a snapshot at the group's next step (ZeRO passes its partition only in a step)."""
        self._resumed[index] = snapshot

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override] # takes no closure
        """Update the active slots that have a gradient; ``closure`` must be None."""
        assert closure is None
        for index, group in enumerate(self.param_groups):
            # ZeRO stage 3 updates one group at a time; meanwhile the other groups are empty.
            if group["active"] and group["params"] and group["params"][0].grad is not None:
                self._update(index, group)

    def _update(self, index: int, group: dict[str, Any]) -> None:
        (p,) = group["params"]
        state = self._state(index, p)
        norm = torch.linalg.vector_norm(p.grad, dtype=torch.float32)
        if self.across is not None:
            square = norm.square().to(self.across)  # NCCL cannot read an offloaded gradient in the machine's memory
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
        self._parameters[index] = p
        return state


def scheduled_rate(step: int, *, steps: int, rate: float, warmup: int, schedule: str, from_zero: bool = False) -> float:
    """Return the learning rate of a step: linear warm-up, then the schedule.

    Args:
        step: counted from 0.
        steps: number of steps in all.
        rate: highest learning rate.
        warmup: number of warm-up steps.
        schedule: ``constant``, ``linear`` or ``cosine``; the last two fall to 0.
        from_zero: whether the warm-up's first step has the rate 0; else it has ``rate / warmup``.

    Raises:
        ValueError: the schedule is unknown.
    """
    if step < warmup:
        return rate * (step + (not from_zero)) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    match schedule:
        case "constant":
            return rate
        case "linear":
            return rate * (1 - progress)
        case "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * progress))
    raise ValueError(f"unknown schedule {schedule!r}")
