"""Measures of how well a model still knows an answer, from teacher-forced log-probabilities of the answer's tokens.

Log-probabilities are natural logarithms, one for each answer token. All functions raise ``ValueError`` for an answer
without tokens.
"""

from collections.abc import Sequence
from math import exp, floor, inf, nan
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_Item = TypeVar("_Item")


def probability(logps: npt.ArrayLike) -> float:
    """Length-normalised probability of an answer, p(a|q)^(1/|a|), 0 to 1 (TOFU, 2401.06121, section 2.2).

    Args:
        logps: log-probability of each answer token, [tokens].
    """
    return exp(_mean(logps))


def truth_ratio_tofu(paraphrased: npt.ArrayLike, perturbed: Sequence[npt.ArrayLike]) -> float:
    """Truth ratio of the TOFU paper: arithmetic mean of the wrong answers' probabilities over the right one's.

    mean_i p(â_i|q)^(1/|â_i|) / p(ã|q)^(1/|ã|) (2401.06121, equation 1): 0 = the fact is known, 1 = right and
    wrong answers are equally likely, above 1 = wrong ones are preferred.

    Args:
        paraphrased: log-probabilities of the paraphrased right answer, [tokens].
        perturbed: log-probabilities of each perturbed (wrong) answer, [answers][tokens].

    Returns:
        The ratio; inf when only the right answer has probability 0, nan when all answers have.
    """
    wrong = np.array([_mean(logps) for logps in _some(perturbed)])
    highest = float(wrong.max())
    if highest == -inf:
        return _ratio(-inf, _mean(paraphrased))
    # Shift by the highest value, so that probabilities as small as 1e-400 still have a ratio.
    return _ratio(highest + float(np.log(np.exp(wrong - highest).mean())), _mean(paraphrased))


def truth_ratio_forget(ratio: float) -> float:
    """min(R, 1/R): 1 = right and wrong answers are equally likely, which is best on a forget set.

    From TOFU's code (``get_model_utility``) and open-unlearning's ``closer_to_1_better``; the paper itself scores
    forgetting by the Kolmogorov-Smirnov test on R.

    Args:
        ratio: truth ratio of one item, 0 or more.
    """
    return min(ratio, 1 / ratio) if ratio else 0.0


def exact_memorisation(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Share of answer tokens that are the teacher-forced argmax, 0 to 1 (2205.10770; as in open-unlearning).

    Args:
        predicted: argmax token at each answer position, given the true tokens before it, [tokens].
        labels: the answer's tokens, [tokens].

    Raises:
        ValueError: the lengths differ.
    """
    hits = [p == t for p, t in zip(predicted, _some(labels), strict=True)]
    return sum(hits) / len(hits)


def extraction_strength(correct: Sequence[bool]) -> float:
    """1 - k/|a| for the shortest prefix of k tokens after which all other tokens are predicted right, 0 to 1.

    After Carlini et al. 2021 (2012.07805), in the form of 2402.14015. It is 1 if all tokens are right, and 0 if the
    last token is wrong, since only the whole answer as prefix extracts it (open-unlearning's code gives 1/|a|).

    Args:
        correct: whether each answer token is the teacher-forced argmax, [tokens].
    """
    flags = list(_some(correct))
    prefix = max((i + 1 for i, right in enumerate(flags) if not right), default=0)
    return 1 - prefix / len(flags)


def min_k(logps: npt.ArrayLike, k: float = 0.2) -> float:
    """Min-K% Prob: mean log-probability of the least likely share k of tokens (2310.16789); higher: in training data.

    Args:
        logps: log-probability of each token, [tokens].
        k: share of the tokens, above 0 to 1; at least one token is taken.
    """
    return _mean_of_lowest(_tokens(logps), k)


def min_k_plus_plus(logps: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike, k: float = 0.2) -> float:
    """Min-K%++: Min-K% of log-probabilities standardised at each position (2404.02936); higher: in training data.

    Where the standard deviation is 0, a token whose log-probability is the mean scores 0, and any other scores -inf.

    Args:
        logps: log-probability of each token, [tokens].
        mean: expectation of log p over the vocabulary under the model at each position, [tokens].
        std: its standard deviation, [tokens].
        k: share of the tokens, above 0 to 1; at least one token is taken.

    Raises:
        ValueError: the lengths differ.
    """
    values, means, stds = _tokens(logps), _tokens(mean), _tokens(std)
    if not values.shape == means.shape == stds.shape:
        raise ValueError(f"{values.size} log-probabilities, {means.size} means, {stds.size} standard deviations")
    flat = np.where(np.isclose(values, means), 0.0, -inf)
    scores = np.divide(values - means, stds, out=flat, where=stds > 0)
    return _mean_of_lowest(scores, k)


def _mean_of_lowest(scores: npt.NDArray[np.float64], k: float) -> float:
    if not 0 < k <= 1:
        raise ValueError(f"k is a share above 0 to 1, not {k}")
    count = max(1, floor(scores.size * k + 1e-9))  # a share of 0.29 of 100 tokens is 29, but 100 * 0.29 < 29 in binary
    return float(np.sort(scores)[:count].mean())


def _ratio(wrong: float, right: float) -> float:
    """Return exp(wrong - right); inf where it would overflow."""
    if wrong == right == -inf:
        return nan
    return exponential(wrong - right)


def exponential(x: float) -> float:
    """Return exp(x); inf where it would overflow, nan for nan."""
    return inf if x >= 700 else exp(x)


def _mean(logps: npt.ArrayLike) -> float:
    return float(_tokens(logps).mean())


def _tokens(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"expected values of one or more tokens, [tokens], not shape {array.shape}")
    return array


def _some(items: Sequence[_Item]) -> Sequence[_Item]:
    if not len(items):
        raise ValueError("expected at least one answer, with at least one token")
    return items
