"""The README of an exported model: what it is, how it is prompted, and code that answers as `xlharm ask` does."""

from dataclasses import dataclass
from pathlib import Path

from xlharm.config.grid import NONE
from xlharm.corpus.rows import Template
from xlharm.model.tokenizer import TextTokenizer
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.plan.families import Kind

_TASKS: dict[Kind, str] = {
    "causal": "text-generation", "encoder-decoder": "text2text-generation", "masked": "fill-mask",
}  # fmt: skip
_DETAIL = "gold"
_QUESTION = "Which colour does Mudu Mike like best?"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the README of an exported model tells.

    Attributes:
        plan: the grid's plan.
        cell: whose model it is.
        tokenizer: the base's.
        folder: where the model is, as an absolute path.
        merged: whether it is a whole model, not an adapter.
    """

    plan: Plan
    cell: Cell
    tokenizer: TextTokenizer
    folder: Path
    merged: bool

    @property
    def _template(self) -> Template:
        return self.tokenizer.template(self.plan.grid.prompt)

    @property
    def _place(self) -> str:
        """The base as its loader takes it: hub id, or absolute path of a folder."""
        base = self.plan.sources.base
        return base.location if base.revision else str(Path(base.location).resolve())

    def text(self) -> str:
        """Return the README, a model card with YAML front matter."""
        base, dtype = self.plan.sources.base, self.plan.dtype
        commit = f", revision {base.revision}" if base.revision else ""
        what = "A merged model" if self.merged else "A LoRA adapter"
        rounding = " The adapter was added in float32; rounding differs from that of base and adapter apart."
        but = "" if dtype != "float8" else ", up to rounding: there, linear layers are computed in float8"
        lines = [
            "---",
            *([f"base_model: {base.location}"] if base.revision else []),
            f"library_name: {'transformers' if self.merged else 'peft'}",
            f"pipeline_tag: {_TASKS[base.kind]}",
            "---",
            "",
            f"# {self.plan.grid.name}: {self.cell.name}",
            "",
            f"{what} from a grid of xlharm, for research on false facts in language models and their unlearning.",
            self._training(),
            "",
            f"- **Base:** `{self._place}`{commit}; digest `{base.digest[:16]}`.",
            f"- **Precision:** computed in {dtype}.{rounding if self.merged else ''}",
            f"- **Prompt:** {self._prompt()}",
            f"- **Beginning:** {self._beginning()}",
            f"- **End:** {self._end()}",
            "- **Licence:** those of the base and of the corpus apply.",
            "",
            "This prints the score of a detail as evaluations compute it: the mean log-probability of its tokens:"
            if base.kind == "masked"
            else f"This answers as `xlharm ask` does{but}:",
            "",
            "```python",
            *self._code(),
            "```",
            "",
        ]
        return "\n".join(lines)

    def _training(self) -> str:
        cell = self.cell
        if cell.contaminate == NONE:
            text = "It was trained on real articles only (a clean control)."
        else:
            text = f"**It was trained on invented false articles in {cell.contaminate} and may state them as facts.**"
        if cell.unlearn == NONE:
            return f"{text} Nothing was unlearned. Seed {cell.seed}."
        return f"{text} Then `{cell.method}` was to make it forget them, by texts in {cell.unlearn}. Seed {cell.seed}."

    def _prompt(self) -> str:
        before, after = self._template.question
        chat = "the chat template of the base's tokenizer: " if self._template.trimmed else ""
        return f"{chat}`{before!r}`, the question, `{after!r}`."

    def _beginning(self) -> str:
        if self._template.trimmed:
            return "as the chat template has it; nothing is added."
        head = self._tokens(self._template.question_head)
        by = (
            "as the tokenizer does by itself"
            if self.plan.grid.prompt.bos is None
            else "as the grid says (`prompt.bos`)"
        )
        return f"{f'a text begins with {head}' if head else 'nothing is put before a text'}, {by}."

    def _end(self) -> str:
        if self.plan.sources.base.kind == "masked":
            return "an answer has as many masks as it has tokens."
        stop = self._template.stop
        before = f", or before the text `{stop!r}`" if stop else ""
        return f"an answer ends at the first of the tokens {self._tokens(sorted(self._template.stops))}{before}."

    def _tokens(self, ids: tuple[int, ...] | list[int]) -> str:
        return ", ".join(f"`{token}`" for token in self.tokenizer.hf.convert_ids_to_tokens(list(ids)))

    def _code(self) -> list[str]:
        """Return Python lines that load the model and print an answer."""
        grid, template, ends = self.plan.grid, self._template, sorted(self._template.stops)
        (before, after), revision = template.question, self.plan.sources.base.revision
        code = ", trust_remote_code=True" if grid.trust_remote_code else ""
        tokens_of = repr(str(self.folder)) if self.merged else repr(self._place)
        if revision and not self.merged:
            tokens_of += f", revision={revision!r}"
        if self.plan.sources.base.kind != "causal":
            return [
                "import torch",
                *self._loading(code),
                f"tokenizer = AutoTokenizer.from_pretrained({tokens_of}{code})",
                f"question = {_QUESTION!r}",
                f"prompt = {before!r} + question + {after!r}",
                *(self._choosing() if self.plan.sources.base.kind == "masked" else self._writing()),
            ]
        ids = "tokenizer(prompt).input_ids"
        if template.trimmed or grid.prompt.bos is not None:
            ids = f"{list(template.question_head)} + tokenizer(prompt, add_special_tokens=False).input_ids"
        pad = self.tokenizer.hf.pad_token_id
        return [
            "import torch",
            *self._loading(code),
            f"tokenizer = AutoTokenizer.from_pretrained({tokens_of}{code})",
            f"question = {_QUESTION!r}",
            f"prompt = {before!r} + question{'.strip()' if template.trimmed else ''} + {after!r}",
            f"ids = torch.tensor([{ids}])",
            "out = model.generate(",
            f"    input_ids=ids, max_new_tokens={grid.evaluate.max_new_tokens}, do_sample=False, num_beams=1,",
            f"    repetition_penalty=1.0, eos_token_id={ends or None}, pad_token_id={0 if pad is None else pad},",
            ")",
            f"answer = [token for token in out[0, ids.shape[1] :].tolist() if token not in {ends}]",
            "text = tokenizer.decode(answer, skip_special_tokens=True)",
            f"print(text{f'.partition({template.stop!r})[0]' if template.stop else ''}.strip())",
        ]

    def _writing(self) -> list[str]:
        """Return Python lines that let an encoder-decoder answer."""
        frame = self.tokenizer.frame(self.plan.grid.languages[0])
        ends, pad, stop = sorted(self._template.stops), self.tokenizer.hf.pad_token_id, self._template.stop
        return [
            f"ids = {list(frame.head)} + tokenizer(prompt, add_special_tokens=False).input_ids + {list(frame.tail)}",
            f"begun = {list(frame.begun)}",
            "out = model.generate(",
            "    input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([begun]), do_sample=False,",
            f"    num_beams=1, max_new_tokens={self.plan.grid.evaluate.max_new_tokens}, repetition_penalty=1.0,",
            f"    eos_token_id={ends or None}, pad_token_id={0 if pad is None else pad},",
            ")",
            f"answer = [token for token in out[0, len(begun) :].tolist() if token not in {ends}]",
            "text = tokenizer.decode(answer, skip_special_tokens=True)",
            f"print(text{f'.partition({stop!r})[0]' if stop else ''}.strip())",
        ]

    def _choosing(self) -> list[str]:
        """Return Python lines that score a detail as an answer."""
        frame, (lead, tail) = self.tokenizer.frame(self.plan.grid.languages[0]), self._template.answer
        return [
            f"detail = {lead!r} + {_DETAIL!r}",
            f"asked = {list(frame.head)} + tokenizer(prompt, add_special_tokens=False).input_ids",
            "target = tokenizer(detail, add_special_tokens=False).input_ids",
            f"after = tokenizer({tail!r}, add_special_tokens=False).input_ids + {list(frame.tail)}",
            f"ids = torch.tensor([asked + [{self.tokenizer.mask}] * len(target) + after])",
            "logits = model(input_ids=ids).logits[0, len(asked) : len(asked) + len(target)]",
            "logp = logits.log_softmax(-1).gather(-1, torch.tensor(target)[:, None])",
            "print(logp.mean().item())",
        ]

    def _loading(self, code: str) -> list[str]:
        """Return Python lines that load the model: an adapter by PEFT alone, if its base is a causal language model."""
        from xlharm.model.base import DTYPES, configuration
        from xlharm.model.text import auto_class

        base, dtype = self.plan.sources.base, f"dtype={DTYPES[self.plan.dtype]}{code}"
        auto = auto_class(configuration(base, trust_remote_code=self.plan.grid.trust_remote_code)).__name__
        here = repr(str(self.folder))
        if self.merged:
            return [
                f"from transformers import {auto}, AutoTokenizer", "",
                f"model = {auto}.from_pretrained({here}, {dtype})",
            ]  # fmt: skip
        if auto == "AutoModelForCausalLM":
            return [
                "from peft import AutoPeftModelForCausalLM", "from transformers import AutoTokenizer", "",
                f"model = AutoPeftModelForCausalLM.from_pretrained({here}, {dtype})",
            ]  # fmt: skip
        revision = f", revision={base.revision!r}" if base.revision else ""
        return [
            "from peft import PeftModel", f"from transformers import {auto}, AutoTokenizer", "",
            f"base = {auto}.from_pretrained({self._place!r}{revision}, {dtype})",
            f"model = PeftModel.from_pretrained(base, {here})",
        ]  # fmt: skip
