"""A tokenizer of letters: lengths can be counted by eye."""

from xlharm.config.grid import Prompt
from xlharm.corpus.rows import Frame, Template
from xlharm.plan.families import Kind


class Letters:
    """One token a letter; ``bos`` begins a sequence and ``eos`` ends it. Its only control token is `|`."""

    def __init__(self, *, bos: int | None = None, eos: int | None = None, kind: Kind = "causal") -> None:
        self.bos, self.eos = bos, eos
        self.kind: Kind = kind
        self.mask = ord("_")

    def frame(self, language: str) -> Frame:
        """A sequence is written <language …>; a decoder begins with ^."""
        begun = (ord("^"),) if self.kind == "encoder-decoder" else ()
        return Frame(head=tuple(map(ord, f"<{language}")), tail=(ord(">"),), begun=begun)

    def encode(self, *parts: str) -> list[int]:
        return [ord(letter) if i % 2 == 0 or letter != "|" else ord("!") for i, p in enumerate(parts) for letter in p]

    def template(self, prompt: Prompt) -> Template:
        head = () if self.bos is None else (self.bos,)
        stop = prompt.answered[1].partition("|")[0]
        closing = frozenset({ord("|")} if "|" in prompt.answered[1] else ())
        return Template(
            head=head, question_head=head, question=prompt.asked, answer=prompt.answered, trimmed=False,
            closing=closing, stop=stop, stops=closing,
        )  # fmt: skip
