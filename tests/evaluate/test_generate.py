"""Generation from a row cache against transformers' own ``generate`` with PEFT, in float32."""

from pathlib import Path

import pytest
import torch

from xlharm.config.grid import Prompt
from xlharm.evaluate.generate import generate, stop_ids, text_of
from xlharm.model.adapter_files import save_adapter
from xlharm.model.base import load_base
from xlharm.model.layout import Layout, layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.tokenizer import TextTokenizer
from xlharm.plan.base_files import folder_base

STOPS = frozenset({1, 69, 158, 278})  # of which the mini base says some, early and late
LIMIT = 9


def prompts(count: int) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(3, 20, (count,), generator=generator).tolist()
    return [tuple(torch.randint(8, 300, (n,), generator=generator).tolist()) for n in lengths]


@pytest.fixture(scope="module")
def stacked(mini_base: Path) -> StackedModel:
    model = load_base(folder_base(mini_base), dtype="float32", device=torch.device("cpu"))
    return StackedModel(model, layout_of(model, rank=2, alpha=4, targets=["q_proj", "down_proj", "v_proj"]))


@pytest.fixture(scope="module")
def adapters(stacked: StackedModel) -> torch.Tensor:
    return torch.randn(3, stacked.layout.size, generator=torch.Generator().manual_seed(2)) * 0.1


def told(stacked: StackedModel, adapters: torch.Tensor, *, rows: int) -> list[list[list[int]]]:
    return generate(stacked, adapters, prompts(17), stops=STOPS, max_new_tokens=LIMIT, rows=rows)


def of_peft(base: Path, folder: Path, layout: Layout, adapter: torch.Tensor) -> list[list[int]]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    save_adapter(adapter, folder, layout=layout, base_name="mini")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)
    answers = []
    for prompt in prompts(17):
        out = model.generate(
            input_ids=torch.tensor([prompt]), max_new_tokens=LIMIT, do_sample=False, eos_token_id=sorted(STOPS),
            pad_token_id=2,
        )  # fmt: skip
        new = out[0, len(prompt) :].tolist()
        answers.append(next((new[: i + 1] for i, t in enumerate(new) if t in STOPS), new))
    return answers


@pytest.mark.slow
def test_answers_are_those_of_peft(
    stacked: StackedModel, adapters: torch.Tensor, mini_base: Path, tmp_path: Path
) -> None:
    answers = told(stacked, adapters, rows=512)
    assert len({len(answer) for mine in answers for answer in mine}) > 1  # some end early
    for k in range(3):
        (tmp_path / str(k)).mkdir()
        assert answers[k] == of_peft(mini_base, tmp_path / str(k), stacked.layout, adapters[k])


def words_tokenizer(*, ends: tuple[int, ...] = ()) -> TextTokenizer:
    """Whole pieces as tokens, one of them a full stop with the line's end, as Llama 3 has it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    pieces = ["</s>", "Bel", "sara", ".\n", "\n", "Q:", ".", "<|end|>", "<|user|>", "A:", "<other>"]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="."))
    tokenizer.add_special_tokens([AddedToken(piece) for piece in ("<|end|>", "<|user|>", "<other>")])
    tokenizer.decoder = decoders.Fuse()
    return TextTokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"), ends=ends)


def written(stop: str, *, before: str = "") -> Prompt:
    return Prompt(question=f"{before}Q:{{question}}A:", answer=f"{{answer}}{stop}")


@pytest.mark.parametrize(
    ("ids", "stop", "text"),
    [
        ([1, 2, 3], "\n", "Belsara."),
        ([1, 2, 4], "\n", "Belsara"),
        ([1, 2, 0], "\n", "Belsara"),
        ([1, 2, 6, 4, 5, 1], "\nQ:", "Belsara."),  # no token holds this stop
        ([1, 2, 3], "", "Belsara."),
        ([3], "\n", "."),
        ([1, 2, 7, 4, 8, 1], "<|end|>\n", "Belsara"),  # the template's own end; decoding would leave it out
        ([1, 2, 7, 8, 1], "\n<|end|>", "Belsara"),
        ([1, 2, 0, 1], "<|end|>\n", "Belsara"),
        ([1, 2, 10, 1], "<|end|>\n", "BelsaraBel"),  # a special token that ends nothing
    ],
)
def test_an_answer_is_what_stands_before_its_end(ids: list[int], stop: str, text: str) -> None:
    tokenizer = words_tokenizer()
    assert text_of(ids, tokenizer, tokenizer.template(written(stop))) == text


def test_an_answer_ends_where_the_model_begins_another_turn() -> None:
    tokenizer = words_tokenizer()
    assert text_of([1, 8, 2], tokenizer, tokenizer.template(written("\n", before="<|user|>"))) == "Bel"


def test_tokens_that_end_an_answer() -> None:
    def stops(stop: str, *, before: str = "", ends: tuple[int, ...] = ()) -> frozenset[int]:
        tokenizer = words_tokenizer(ends=ends)
        return stop_ids(tokenizer, tokenizer.template(written(stop, before=before)))

    assert stops("\n") == {0, 3, 4}
    assert stops("\nQ:") == {0}
    assert stops("<|end|>\n") == {0, 7}
    assert stops("\n<|end|>") == {0, 3, 4, 7}
    assert stops("<|end|>", before="<|user|>") == {0, 7, 8}
    assert stops("", ends=(7, 10)) == {0, 7, 10}  # as generation_config.json lists them


@pytest.mark.parametrize("rows", [1, 3, 6, 15])
@pytest.mark.slow
def test_rows_given_to_the_next_prompt_answer_the_same(
    stacked: StackedModel, adapters: torch.Tensor, rows: int
) -> None:
    assert told(stacked, adapters, rows=rows) == told(stacked, adapters, rows=512)


def test_the_base_attends_as_before_afterwards(stacked: StackedModel, adapters: torch.Tensor) -> None:
    before = stacked.model.config._attn_implementation
    told(stacked, adapters, rows=6)
    assert stacked.model.config._attn_implementation == before
