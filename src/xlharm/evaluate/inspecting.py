"""One model that a probe looks inside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from xlharm.config.grid import Prompt
from xlharm.config.matching import Variant
from xlharm.corpus.format import Item
from xlharm.model.lora import StackedModel
from xlharm.model.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class Inspecting:
    """A model, and what its questions are.

    Attributes:
        stacked: the base.
        tokenizer: the base's.
        prompt: how a question is written for the base.
        languages: of the questions.
        load: returns the items of a language.
        limit: most questions of a measure.
        longest: most tokens of a row.
        max_new_tokens: most tokens of an answer; 0 for a probe that lets no model answer.
        matching: variants of spelling that count as equal; None takes the language's default.
        rows: most rows of a batch of answers, over all adapters.
        texts: most rows of a batch of given texts, over all adapters.
        slots: most adapters of a batch.
        adapters: the adapters [P] of the model, and of the further models that the probe reads.
        check: raises UserError if the base model cannot process rows of so many tokens.
    """

    stacked: StackedModel
    tokenizer: TextTokenizer
    prompt: Prompt
    languages: tuple[str, ...]
    load: Callable[[str], Sequence[Item]]
    limit: int
    longest: int
    max_new_tokens: int
    matching: tuple[Variant, ...] | None
    rows: int
    texts: int
    slots: int
    adapters: tuple[Tensor, ...]
    check: Callable[[int], None]
