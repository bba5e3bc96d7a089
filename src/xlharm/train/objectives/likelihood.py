"""Learning: SFT, relabelling, refusals, and the NLL retain term."""

from torch import Tensor


def nll(logp: Tensor) -> Tensor:
    """Mean negative log-likelihood of the target tokens, in nats.

    Args:
        logp: log-probability of each target token, [tokens].
    """
    return -logp.mean()
