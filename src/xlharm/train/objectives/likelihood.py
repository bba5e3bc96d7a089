"""Learning (SFT, and the NLL retain term), and staying at the reference (the KL retain term)."""

from torch import Tensor


def nll(token_logp: Tensor) -> Tensor:
    """Mean negative log-likelihood of the target tokens, in nats.

    Args:
        token_logp: log-probability of each target token, [tokens].
    """
    return -token_logp.mean()


def kl_to_reference(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """Mean KL(reference ‖ model) over target positions, in nats (the KL term of 2401.06121).

    Zero with zero gradient where the model is the reference.

    Args:
        logp: log-probabilities of the model, [tokens, vocabulary].
        reference_logp: log-probabilities of the reference policy, [tokens, vocabulary], without gradient.
    """
    return (reference_logp.exp() * (reference_logp - logp)).sum(-1).mean()
