"""One model that a probe looks inside, and its questions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xlharm.config.grid import Prompt
from xlharm.config.matching import Variant
from xlharm.corpus.format import Item, of_role
from xlharm.corpus.match import contains
from xlharm.corpus.pools import RowMaker
from xlharm.corpus.rows import Row, prompt_ids
from xlharm.evaluate.answers import degenerate
from xlharm.evaluate.asking import Answer, Asking
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

    def asking(self) -> Asking:
        """Return the model about to answer the questions of its language."""
        (language,) = self.languages
        asking = Asking(
            stacked=self.stacked,
            tokenizer=self.tokenizer,
            prompt=self.prompt,
            language=language,
            items=self.load(language),
            limit=self.limit,
            max_new_tokens=self.max_new_tokens,
            rows=self.rows,
            adapters=self.adapters[0][None],
            active=(True,),
            parents=lambda number: self.adapters[number][None],
        )
        self.check(asking.longest)
        return asking

    def verdicts(self, asking: Asking, answers: Sequence[Answer]) -> list[dict[str, Any]]:
        """Return (item, measure, hit, degenerate) of each question.

        Args:
            asking: what was asked.
            answers: what was answered, by question.
        """
        rows = []
        for (item, measure, _, forms), answer in zip(asking.questions, answers, strict=True):
            hit = contains(answer.text, forms, language=asking.language, variants=self.matching)
            rows.append({"item": item.id, "measure": measure, "hit": hit, "degenerate": degenerate(answer.text)})
        return rows

    def fake_answers(self) -> tuple[list[str], list[Row]]:
        """Return the ids of the fake items, and for each its first question with the fake detail as the answer."""
        (language,) = self.languages
        texts = RowMaker(
            load=lambda _: tuple(self.load(language)),
            tokenizer=self.tokenizer,
            prompt=self.prompt,
            limit=self.longest,
            ended=False,
        )
        items = of_role(self.load(language), ["fake"])[: self.limit]
        rows = [texts.pair(item.of[0], item.fake_detail[0], language=language) for item in items]
        self.check(max((row.longest for row in rows), default=0))
        return [item.id for item in items], rows

    def prompts(self, roles: Iterable[str]) -> tuple[list[str], dict[str, list[tuple[int, ...]]]]:
        """Return the ids of the items of some roles that all languages ask about, and their prompts by language.

        An item's prompt is its first question about the fake detail, or its first one about a real detail.
        """
        asked: dict[str, dict[str, str]] = {}
        for language in self.languages:
            items = of_role(self.load(language), roles)
            texts = {item.id: (*item.of[:1], *(q.question for q in item.qr[:1])) for item in items}
            asked[language] = {name: some[0] for name, some in texts.items() if some}
        first, *others = asked.values()
        names = [name for name in first if all(name in other for other in others)][: self.limit]
        prompts = {
            language: [prompt_ids(texts[name], prompt=self.prompt, tokenizer=self.tokenizer) for name in names]
            for language, texts in asked.items()
        }
        self.check(max((len(prompt) for some in prompts.values() for prompt in some), default=0))
        return names, prompts
