"""A natural-language-inference model on the workers: does the answer entail the statement?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from xlharm.errors import UserError
from xlharm.judges.base import Case, JudgeResources, ModelJudge, Verdict, load_model

if TYPE_CHECKING:
    import torch

    from xlharm.plan.sources import BaseSource

PROMPT_VERSION = 1
"""Raise it with any change of how premise and hypothesis are written: it is part of a stage's key."""
_ROWS = 32


class Nli(ModelJudge):
    """A natural-language-inference model (XNLI) on the workers.

    Attributes:
        threshold: probability of entailment from which on it is a yes.
    """

    kind: Literal["nli"]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5

    prompt_version: ClassVar[int] = PROMPT_VERSION

    def start(self, worker: JudgeResources) -> NliJudge:
        """Load the model."""
        assert worker.source is not None
        return NliJudge(worker.source, threshold=self.threshold, device=worker.device)


class NliJudge:
    """Does question and answer entail question and expected detail?

    Args:
        source: where the model lies.
        threshold: probability of entailment from which on it is a yes.
        device: where it runs.

    Raises:
        UserError: it cannot be loaded, or has no label for entailment.
    """

    def __init__(self, source: BaseSource, *, threshold: float, device: torch.device) -> None:
        from transformers import AutoModelForSequenceClassification as Classifier

        self._tokenizer, self._model = load_model(Classifier, source, device=device)
        labels = {str(name).lower(): int(i) for i, name in self._model.config.id2label.items()}
        entails = [i for name, i in labels.items() if name.startswith("entail")]
        if len(entails) != 1:
            raise UserError(f"judge {source.location}: it has no label `entailment` (it has {', '.join(labels)})")
        self._entails, self._threshold, self._device = entails[0], threshold, device

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Return one verdict for each case."""
        starts = range(0, len(cases), _ROWS)
        chances = [p for start in starts for p in self._chances(cases[start : start + _ROWS])]
        return [Verdict(hit=p >= self._threshold, rationale=f"p(entailment) {p:.2f}") for p in chances]

    def _chances(self, cases: Sequence[Case]) -> list[float]:
        """Return the probability of entailment for each case."""
        import torch

        premises = [f"{c.question} {c.answer}" for c in cases]
        hypotheses = [f"{c.question} {c.expected[0]}" for c in cases]
        batch = self._tokenizer(premises, hypotheses, return_tensors="pt", padding=True, truncation=True)
        with torch.inference_mode():
            logits: torch.Tensor = self._model(**{k: v.to(self._device) for k, v in batch.items()}).logits
            return logits.float().softmax(-1)[:, self._entails].tolist()
