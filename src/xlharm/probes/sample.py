"""Sampling: several answers to each question, for leak@k."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from xlharm.config.training import Above0, NonNegative
from xlharm.probes.base import AnswerProbe

if TYPE_CHECKING:
    from xlharm.evaluate.asking import Answer, Asking


class Sample(AnswerProbe):
    """Sample several answers to each question instead of the likeliest one (2511.04934).

    All are stored, and `results --view leaks` shows leak@k: the chance that one of k answers states the fake detail.
    The random numbers follow from the seed, the question and the number of the answer alone.

    Attributes:
        samples: answers to each question; the largest k.
        temperature: the logits are divided by it (2511.04934 compares 0.2 to 1).
        top_p: only the likeliest tokens are sampled whose probabilities together just reach it; 1 for all.
        seed: of the random numbers.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal", "encoder-decoder"})

    kind: Literal["sample"]
    samples: Annotated[int, Field(ge=2, le=1000)] = 16
    temperature: Above0 = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: NonNegative = 0

    @property
    def repeats(self) -> int:
        """Answers to each question."""
        return self.samples

    def answers(self, asking: Asking) -> tuple[Asking, list[list[Answer]]]:
        """Let the models answer each question several times, all in one batch."""
        from xlharm.model.sampling import Sampling, random_numbers

        often = replace(asking, repeats=self.samples)
        names = [
            [asking.language, item.id, measure, question, i % self.samples]
            for i, (item, measure, question, _) in enumerate(often.questions)
        ]
        numbers = random_numbers(names, seed=self.seed, steps=often.max_new_tokens)
        sampling = Sampling(temperature=self.temperature, top_p=self.top_p, numbers=numbers)
        return often, often.generate(often.adapters, sampling=sampling)
