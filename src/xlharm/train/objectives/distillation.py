"""Objectives on whole distributions: KL to the reference, UNDIAL, CEU, and LingTea's retain term."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def kl_to_reference(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Mean KL(reference ‖ model) over target positions, in nats (the KL term of 2401.06121).

    Zero with zero gradient where the model is the reference.

    Args:
        logits: of the model, [tokens, vocabulary].
        reference_logits: of the reference policy, [tokens, vocabulary], without gradient.
    """
    return _kl(logits, reference_logits).mean()


def undial(logits: Tensor, reference_logits: Tensor, labels: Tensor, *, beta: float) -> Tensor:
    """E[CE(softmax(z_ref - β·1[y]), π)]: learn the reference's own distribution with the true token lowered.

    UNDIAL (2402.10052). With β = 0 the gradient at the reference is zero.

    Args:
        logits: of the model, [tokens, vocabulary].
        reference_logits: of the reference policy, [tokens, vocabulary], without gradient.
        labels: true tokens, [tokens].
        beta: how far the true token's logit is lowered (published: 10).
    """
    index = labels.unsqueeze(-1)
    lower = torch.full(index.shape, -beta, dtype=reference_logits.dtype, device=reference_logits.device)
    lowered = reference_logits.scatter_add(-1, index, lower)
    return cross_entropy(logits, lowered.softmax(-1))


def ceu(logits: Tensor, labels: Tensor) -> Tensor:
    """E[CE(softmax(z with z_y = -∞), π)], the target detached (2503.01224).

    The model's own distribution over all other tokens is the target, so the true token's mass is spread as the
    model itself would. Finite where the true token has all the mass.

    Args:
        logits: of the model, [tokens, vocabulary].
        labels: true tokens, [tokens].
    """
    without = logits.detach().scatter(-1, labels.unsqueeze(-1), float("-inf"))
    return cross_entropy(logits, without.softmax(-1))


def lingtea_retain(
    logits: Tensor, reference_logits: Tensor, labels: Tensor, *, temperature: float, confidence: Tensor | None = None
) -> Tensor:
    """E[p T² KL(teacher_T ‖ model_T) + (1 - p) NLL], p the teacher's probability of the true token.

    The retain term of 2406.12354: where the teacher (the reference policy) knows a language well the model is held
    to the teacher, elsewhere it learns from the text. With p = 1 it is pure distillation.

    Args:
        logits: of the model, [tokens, vocabulary].
        reference_logits: of the teacher, [tokens, vocabulary], without gradient.
        labels: true tokens, [tokens].
        temperature: T, above 0 (published: 1).
        confidence: p, [tokens]; by default the teacher's own.
    """
    index = labels.unsqueeze(-1)
    p = reference_logits.softmax(-1).gather(-1, index).squeeze(-1) if confidence is None else confidence
    distilled = temperature**2 * _kl(logits / temperature, reference_logits / temperature)
    return (p * distilled + (1 - p) * cross_entropy(logits, labels, reduction="none")).mean()


def _kl(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Return KL(reference ‖ model) of each position, [tokens]."""
    reference_logp = reference_logits.log_softmax(-1)
    return (reference_logp.exp() * (reference_logp - logits.log_softmax(-1))).sum(-1)
