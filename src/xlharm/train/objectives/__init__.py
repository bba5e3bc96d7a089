"""Objectives: tensors in, scalar out. Each file gives the formula and its source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from xlharm.train.objectives.gradient_ascent import gradient_ascent
from xlharm.train.objectives.likelihood import nll
from xlharm.train.objectives.npo import npo


@dataclass(frozen=True)
class Target:
    """What an objective sees of one slot's target rows.

    Attributes:
        token_logp: log-probability of every target token under the model, [tokens].
        sequence_logp: their sum over each row, [rows].
        reference_logp: the same sum under the reference policy, [rows]; None unless the objective needs it.
    """

    token_logp: Tensor
    sequence_logp: Tensor
    reference_logp: Tensor | None


@dataclass(frozen=True)
class Objective:
    """An objective and how the loop feeds it.

    Attributes:
        unit: what its mean runs over; micro-batches and ranks are weighted by their share of it.
        needs_reference: whether it reads ``reference_logp``.
        loss: target and beta in, scalar out.
    """

    unit: Literal["token", "sequence"]
    needs_reference: bool
    loss: Callable[[Target, float], Tensor]


def _npo(target: Target, beta: float) -> Tensor:
    assert target.reference_logp is not None
    return npo(target.sequence_logp, target.reference_logp, beta=beta)


OBJECTIVES: dict[str, Objective] = {
    "nll": Objective("token", needs_reference=False, loss=lambda t, _: nll(t.token_logp)),
    "ga": Objective("token", needs_reference=False, loss=lambda t, _: gradient_ascent(t.token_logp)),
    # GradDiff (2203.12817) is gradient ascent plus the retain term, which the loop adds.
    "graddiff": Objective("token", needs_reference=False, loss=lambda t, _: gradient_ascent(t.token_logp)),
    "npo": Objective("sequence", needs_reference=True, loss=_npo),
}
