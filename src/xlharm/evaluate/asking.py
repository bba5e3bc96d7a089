"""A pack of models and the questions that they are asked in one language."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from xlharm.config.grid import Prompt
from xlharm.corpus.format import Item
from xlharm.corpus.options import options_of
from xlharm.corpus.other_rows import asked_source, filled_row
from xlharm.corpus.rows import Row, Template, prompt_ids
from xlharm.corpus.streams import questions_of
from xlharm.evaluate.choice import choose
from xlharm.evaluate.generate import generate, stop_ids, text_of
from xlharm.model.lora import StackedModel
from xlharm.model.sampling import Sampling
from xlharm.model.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: what was answered.
        ids: the tokens that were generated.
        options: for a masked model, the texts that it chose from, the expected one first; else empty.
        scores: mean log-probability of each option's tokens, in nats.
    """

    text: str
    ids: tuple[int, ...] = ()
    options: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


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
        """The questions' token ids; of an encoder-decoder what the encoder reads."""
        prompt, tokenizer = self.prompt, self.tokenizer
        if tokenizer.kind == "encoder-decoder":
            return [
                asked_source(q, prompt=prompt, tokenizer=tokenizer, language=self.language)
                for _, _, q, _ in self.questions
            ]
        return [prompt_ids(q, prompt=prompt, tokenizer=tokenizer) for _, _, q, _ in self.questions]

    @cached_property
    def options(self) -> list[tuple[str, ...]]:
        """The texts that a masked model chooses from, for each question, the expected one first."""
        return options_of(self.items, limit=self.limit, language=self.language)

    @cached_property
    def _filled(self) -> list[list[Row]]:
        return [
            [
                filled_row(
                    question, option, prompt=self.prompt, tokenizer=self.tokenizer, language=self.language,
                    limit=sys.maxsize,
                )
                for option in options
            ]
            for (_, _, question, _), options in zip(self.questions, self.options, strict=True)
        ]  # fmt: skip

    @property
    def begun(self) -> tuple[int, ...]:
        """Ids that the decoder of an encoder-decoder is given; empty for other models."""
        return self.tokenizer.frame(self.language).begun if self.tokenizer.kind == "encoder-decoder" else ()

    @property
    def longest(self) -> int:
        """Number of tokens of the longest row that is computed."""
        if self.tokenizer.kind == "masked":
            return max((row.longest for rows in self._filled for row in rows), default=0)
        asked = max(map(len, self.prompts), default=0)
        if self.tokenizer.kind == "encoder-decoder":
            return max(asked, len(self.begun) + self.max_new_tokens)
        return asked + self.max_new_tokens

    @property
    def tokens(self) -> int:
        """Number of tokens that one model reads."""
        if self.tokenizer.kind == "masked":
            return sum(row.tokens for rows in self._filled for row in rows)
        return sum(map(len, self.prompts))

    @property
    def template(self) -> Template:
        """How a question and its answer are written."""
        return self.tokenizer.template(self.prompt)

    @cached_property
    def _stops(self) -> frozenset[int]:
        return stop_ids(self.tokenizer, self.template)

    def generate(self, adapters: Tensor, *, sampling: Sampling | None = None) -> list[list[Answer]]:
        """Let models [K, P] answer, greedily or by sampling; return their answers [K][question].

        A masked model chooses one of the options; it does not sample.
        """
        if self.tokenizer.kind == "masked":
            return self._chosen(adapters)
        answers = generate(
            self.stacked,
            adapters,
            self.prompts,
            stops=self._stops,
            max_new_tokens=self.max_new_tokens,
            rows=self.rows,
            sampling=sampling,
            **({"begun": self.begun} if self.begun else {}),
        )
        return [[Answer(text_of(ids, self.tokenizer, self.template), tuple(ids)) for ids in some] for some in answers]

    def _chosen(self, adapters: Tensor) -> list[list[Answer]]:
        choices = choose(self.stacked, adapters, self._filled, batch=self.rows)
        return [
            [
                Answer(options[choice.option], options=options, scores=choice.scores)
                for options, choice in zip(self.options, some, strict=True)
            ]
            for some in choices
        ]
