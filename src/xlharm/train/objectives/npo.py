"""Negative preference optimisation (2404.05868)."""

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
