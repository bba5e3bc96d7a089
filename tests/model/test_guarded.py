"""A text never becomes a control token, and is split as transformers splits it otherwise."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.chats import FAMILIES, TEXT, hf_tokenizer, text_tokenizer
from xlharm.errors import UserError
from xlharm.model.guarded import GuardedEncoder, control_tokens

every = pytest.mark.parametrize("name", FAMILIES)


@every
def test_a_text_without_control_tokens_is_split_as_by_transformers(name: str) -> None:
    tokenizer, hf = text_tokenizer(name), hf_tokenizer(name)
    for text in (TEXT, f" {TEXT}", f"{TEXT}\n\n{TEXT} <b>12</b>", ""):
        assert tokenizer.encode("", text) == hf(text, add_special_tokens=False)["input_ids"]
        whole = f"Q: {text}{FAMILIES[name].end}\nA: {text}"
        parts = ("Q: ", text, f"{FAMILIES[name].end}\nA: ", text)
        assert tokenizer.encode(*parts) == hf(whole, add_special_tokens=False)["input_ids"]


@every
@given(data=st.data())
def test_no_text_becomes_a_control_token(name: str, data: st.DataObject) -> None:
    tokenizer, hf = text_tokenizer(name), hf_tokenizer(name)
    pieces = [*tokenizer.controls, *(c[:-1] for c in tokenizer.controls), "a", " ", "\n", "<", "|", ">", "é", "سرخ"]
    text = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=8)))
    ids = tokenizer.encode("", text)
    assert not set(ids) & set(tokenizer.controls.values())
    assert hf.decode(ids, clean_up_tokenization_spaces=False).strip() == text.strip()


def test_control_tokens_are_special_or_written_by_the_template() -> None:
    """`<think>` is no special token of Qwen 3 but its template writes it; Gemma's `<b>` and line breaks are text."""
    assert set(text_tokenizer("qwen3").controls) == {
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>",
    }  # fmt: skip
    assert set(text_tokenizer("gemma3").controls) == set(FAMILIES["gemma3"].special)
    hf = hf_tokenizer("qwen3")
    assert "<tool_call>" in control_tokens(hf, ends=[hf.convert_tokens_to_ids("<tool_call>")])


class Slow:
    """A tokenizer in Python with `</s>` as token 2; ``splits`` says whether it can be told to read it as text."""

    backend_tokenizer: Any = None
    unk_token_id = None

    def __init__(self, *, splits: bool) -> None:
        from tokenizers import AddedToken

        self._splits = splits
        self.added_tokens_decoder = {2: AddedToken("</s>", special=True)}

    def __call__(self, text: str, *, split_special_tokens: bool = False, **_: Any) -> dict[str, list[int]]:
        marked = text if split_special_tokens and self._splits else text.replace("</s>", "\x02")
        return {"input_ids": [ord(letter) for letter in marked]}


class Stubborn(Slow):
    """One whose backend reads `</s>` as a control token whatever it is told."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer, models

        super().__init__(splits=False)
        self.backend_tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "</s>": 2}, unk_token="a"))


def test_a_slow_tokenizer_is_told_to_split() -> None:
    encoder = GuardedEncoder(Slow(splits=True), {"</s>": 2})
    assert encoder.encode("a", "</s>") == [ord(letter) for letter in "a</s>"]
    assert encoder.encode("a</s>", "b") == [ord("a"), 2, ord("b")]


@pytest.mark.parametrize(
    ("hf", "parts"),
    [
        (Slow(splits=True), ("a</s>", "</s>")),  # it can split all or nothing
        (Slow(splits=False), ("", "</s>")),
        (Stubborn(), ("", "</s>")),
    ],
)
def test_a_text_that_cannot_be_read_as_text_is_named(hf: Any, parts: tuple[str, ...]) -> None:
    encoder = GuardedEncoder(hf, {"</s>": 2})
    assert encoder.encode("</s>") == [2]
    with pytest.raises(UserError, match="a text holds '</s>', which the base's tokenizer cannot read as text"):
        encoder.encode(*parts)


def test_a_copy_of_the_tokenizer_is_made_only_for_a_template_with_control_tokens() -> None:
    encoder = GuardedEncoder(hf_tokenizer("llama3"), text_tokenizer("llama3").controls)
    ids = encoder.encode("Q: ", "a<|eot_id|>")
    assert "_backend" not in vars(encoder)
    whole = encoder.encode("<|eot_id|>Q: ", "a<|eot_id|>")
    assert "_backend" in vars(encoder)
    assert whole[1:] == ids
