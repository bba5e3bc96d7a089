"""Objectives on hidden states: RMU (2403.03218)."""

import torch
from torch import Tensor

from xlharm.plan.digest import mix


def direction(width: int, *, seed: int) -> Tensor:
    """Return RMU's fixed random unit vector u [width], entries uniform in [0, 1) before normalising."""
    generator = torch.Generator().manual_seed(mix(seed, "rmu", width) % 2**63)
    u = torch.rand(width, generator=generator)
    return torch.nn.functional.normalize(u, dim=0)


def misdirection(hidden: Tensor, target: Tensor) -> Tensor:
    """E‖h - c·u‖²: drive the forget rows' hidden states to one random direction.

    Args:
        hidden: [tokens, width].
        target: c·u, [width].
    """
    return (hidden - target).square().sum(-1).mean()


def stay(hidden: Tensor, reference_hidden: Tensor) -> Tensor:
    """E‖h - h_ref‖²: RMU's retain term; zero with zero gradient at the reference.

    Args:
        hidden: [tokens, width].
        reference_hidden: the same under the reference policy, without gradient.
    """
    return (hidden - reference_hidden).square().sum(-1).mean()
