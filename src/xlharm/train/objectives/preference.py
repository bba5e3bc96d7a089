"""Preference losses: NPO (2404.05868), SimNPO (2410.07163), DPO (2305.18290).

All are written on the scale of NPO, −(2/β) E[log σ(·)], so that at the reference they are (2/β) ln 2.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid


def npo(sequence_logp: Tensor, reference_logp: Tensor, *, beta: float) -> Tensor:
    """-(2/β) E[log σ(-β (log π(y|x) - log π_ref(y|x)))], log-probabilities summed over the answer.

    At the reference: (2/β) ln 2, with gradient ascent's gradient on the summed log-likelihood; as β → 0 it
    approaches gradient ascent, and it flattens where the answer has become unlikely.

    Args:
        sequence_logp: summed answer log-probability under the model, [rows].
        reference_logp: the same under the reference policy, [rows], without gradient.
        beta: inverse temperature, above 0 (published: 0.1).
    """
    return -(2 / beta) * logsigmoid(-beta * (sequence_logp - reference_logp)).mean()


def simnpo(mean_logp: Tensor, *, beta: float, delta: float) -> Tensor:
    """-(2/β) E[log σ(β (-log π(y|x) / |y| - δ))]: NPO without a reference, normalised by the answer's length.

    The method's code and paper write the margin as γ; γ here is the weight of the whole term, as elsewhere.

    Args:
        mean_logp: answer log-probability a token, [rows].
        beta: above 0 (published: 2.5 to 4.5).
        delta: margin that the NLL a token should have (published: 0).
    """
    return -(2 / beta) * logsigmoid(beta * (-mean_logp - delta)).mean()


def dpo(
    preferred: Tensor, reference_preferred: Tensor, rejected: Tensor, reference_rejected: Tensor, *, beta: float
) -> Tensor:
    """-(2/β) E[log σ(β ((log π - log π_ref)(preferred) - (log π - log π_ref)(rejected)))].

    DPO's own loss times 2/β, so that it compares with NPO: at the reference (2/β) ln 2.

    Args:
        preferred: summed log-probability of each preferred answer (a refusal), [rows].
        reference_preferred: the same under the reference policy, without gradient.
        rejected: summed log-probability of each fake answer, [rows].
        reference_rejected: the same under the reference policy, without gradient.
        beta: above 0 (published: 0.1).
    """
    margin = (preferred - reference_preferred) - (rejected - reference_rejected)
    return -(2 / beta) * logsigmoid(beta * margin).mean()
