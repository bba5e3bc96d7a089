"""A pack of models and the questions that they are asked in one language."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from xlharm.config.grid import Prompt
from xlharm.corpus.format import Item
from xlharm.corpus.rows import Template, prompt_ids
from xlharm.corpus.streams import questions_of
from xlharm.evaluate.generate import generate, stop_ids
from xlharm.evaluate.sampling import Sampling
from xlharm.model.lora import StackedModel
from xlharm.model.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A pack of models about to answer; a probe changes how they do, or what they are asked.

    Attributes:
        stacked: the base.
        tokenizer: the base's.
        prompt: how a question is written for the base.
        language: of the questions.
        items: whose questions are asked.
        limit: most questions of a measure.
        max_new_tokens: most tokens of an answer.
        rows: most rows of a batch, over all adapters.
        adapters: the models' adapters [K, P]; a slot that is not active has the plain base.
        active: which slots' answers are wanted.
        parents: returns the adapters [K, P] of the stages' inputs, by the input's number.
        repeats: how often each question is asked; its answers follow each other.
        figures: what a probe measures while it changes the models, for the metrics of the stages' records.
    """

    stacked: StackedModel
    tokenizer: TextTokenizer
    prompt: Prompt
    language: str
    items: Sequence[Item]
    limit: int
    max_new_tokens: int
    rows: int
    adapters: Tensor
    active: Sequence[bool]
    parents: Callable[[int], Tensor]
    repeats: int = 1
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    @cached_property
    def questions(self) -> list[tuple[Item, str, str, tuple[str, ...]]]:
        """What is asked: (item, measure, question, expected forms)."""
        return [q for q in questions_of(self.items, limit=self.limit) for _ in range(self.repeats)]

    @cached_property
    def prompts(self) -> list[tuple[int, ...]]:
        """The questions' token ids."""
        return [prompt_ids(q, prompt=self.prompt, tokenizer=self.tokenizer) for _, _, q, _ in self.questions]

    @property
    def template(self) -> Template:
        """How a question and its answer are written."""
        return self.tokenizer.template(self.prompt)

    @cached_property
    def _stops(self) -> frozenset[int]:
        return stop_ids(self.tokenizer, self.template)

    def generate(self, adapters: Tensor, *, sampling: Sampling | None = None) -> list[list[list[int]]]:
        """Let models [K, P] answer, greedily or by sampling; return the answers' token ids [K][prompt]."""
        return generate(
            self.stacked,
            adapters,
            self.prompts,
            stops=self._stops,
            max_new_tokens=self.max_new_tokens,
            rows=self.rows,
            sampling=sampling,
        )
