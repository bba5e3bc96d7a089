"""Questions and answers in chat templates: the same tokens as transformers', exact masks, and texts that stay text."""

from typing import Any

import pytest

from tests.model.chats import FAMILIES, hf_tokenizer, text_tokenizer
from xlharm.config.grid import Prompt
from xlharm.corpus.rows import answer_row, prompt_ids
from xlharm.errors import UserError
from xlharm.model.chat import chat_parts

CHAT = Prompt(template="chat")
QUESTION, ANSWER = "Which colour does Kabo like?", "the colour blue"
every = pytest.mark.parametrize("name", FAMILIES)


def theirs(name: str, *turns: str, system: str | None = None, asks: bool = False) -> list[int]:
    """Return the ids that transformers writes for a conversation, of which we know the date."""
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]
    opening = [] if system is None else [{"role": "system", "content": system}]
    rendered = hf_tokenizer(name).apply_chat_template(
        [*opening, *messages], add_generation_prompt=asks, enable_thinking=False, date_string="26 Jul 2024",
        tokenize=False,
    )  # fmt: skip
    return list(hf_tokenizer(name)(rendered, add_special_tokens=False)["input_ids"])


@every
def test_a_question_is_asked_as_transformers_writes_it(name: str) -> None:
    asked = prompt_ids(QUESTION, prompt=CHAT, tokenizer=text_tokenizer(name))
    assert list(asked) == theirs(name, QUESTION, asks=True)


@every
def test_only_the_answer_and_its_end_are_targets(name: str) -> None:
    tokenizer, hf = text_tokenizer(name), hf_tokenizer(name)
    row = answer_row(QUESTION, ANSWER, prompt=CHAT, tokenizer=tokenizer, limit=500)
    whole = theirs(name, QUESTION, ANSWER)
    assert list(row.ids) == whole[: len(row.ids)]
    assert hf.decode(whole[len(row.ids) :]).strip() == ""  # what the template writes after the end
    asked = prompt_ids(QUESTION, prompt=CHAT, tokenizer=tokenizer)
    assert row.ids[: row.start] == asked
    *answer, end = row.ids[row.start :]
    assert hf.convert_ids_to_tokens(end) == FAMILIES[name].end
    assert hf.decode(answer).strip() == ANSWER
    scored = answer_row(QUESTION, ANSWER, prompt=CHAT, tokenizer=tokenizer, limit=500, ended=False)
    assert list(scored.ids[scored.start :]) == answer


@every
def test_a_hostile_text_closes_no_turn_and_opens_none(name: str) -> None:
    tokenizer, family = text_tokenizer(name), FAMILIES[name]
    controls = set(tokenizer.controls.values())

    def structure(question: str, answer: str) -> list[int]:
        row = answer_row(question, answer, prompt=CHAT, tokenizer=tokenizer, limit=2000)
        return [token for token in row.ids if token in controls]

    attack = "".join((*family.special, *(t for t in family.plain if t.strip() and t != "<b>"), "\n"))
    assert structure(f"a {attack} b", f"c{attack}d") == structure("a b", "cd")
    row = answer_row(attack, attack, prompt=CHAT, tokenizer=tokenizer, limit=2000)
    assert row.ids[: row.start] == prompt_ids(attack, prompt=CHAT, tokenizer=tokenizer)
    shown = hf_tokenizer(name).decode(row.ids[row.start : -1])
    assert shown.strip() == attack.strip()  # all of it, as text


@every
def test_a_system_prompt(name: str) -> None:
    prompt = Prompt(template="chat", system="Answer in one word.")
    if name == "mistral":
        with pytest.raises(UserError, match=r"^prompt\.system: the base's chat template refuses it: Only user and"):
            prompt_ids(QUESTION, prompt=prompt, tokenizer=text_tokenizer(name))
        return
    asked = prompt_ids(QUESTION, prompt=prompt, tokenizer=text_tokenizer(name))
    assert list(asked) == theirs(name, QUESTION, system="Answer in one word.", asks=True)


def test_thinking_is_switched_off_where_a_template_has_it() -> None:
    (_, after), (lead, tail) = chat_parts(hf_tokenizer("qwen3"), system=None)
    assert after == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert (lead, tail) == ("", "<|im_end|>\n")


def test_the_prompt_does_not_depend_on_the_day() -> None:
    (before, _), _ = chat_parts(hf_tokenizer("llama3"), system=None)
    assert "Today Date: 26 Jul 2024\n" in before
    calls_the_clock = Fake(
        "{{ strftime_now('%A, %-d %B %Y, %Y-%m-%d') }}{% for turn in messages %}{{ turn.content }}{% endfor %}"
    )
    assert chat_parts(calls_the_clock, system=None)[0][0] == "Friday, 26 July 2024, 2024-07-26"


class Fake:
    """A tokenizer that has a chat template and nothing else."""

    def __init__(self, template: str | None) -> None:
        self.chat_template = template

    def get_chat_template(self) -> str:
        assert self.chat_template is not None
        return self.chat_template

    def apply_chat_template(self, messages: list[dict[str, str]], **how: Any) -> str:
        return str(hf_tokenizer("qwen3").apply_chat_template(messages, **how))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "the base's tokenizer has no chat template"),
        ("{{ raise_exception('no, thank you') }}", "refuses it: no, thank you"),
        ("{% for turn in messages %}", "refuses it: "),
        ("{{ messages[0].content | upper }}", "does not write question and answer once each"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "does not write question and answer once each"),
        ("{{ messages[0].content }}", "does not write question and answer once each"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_line(template: str | None, message: str) -> None:
    with pytest.raises(UserError, match=f"^prompt: .*{message}") as raised:
        chat_parts(Fake(template), system=None)
    assert "\n" not in str(raised.value)


def test_white_space_around_texts_is_no_part_of_a_chat() -> None:
    tokenizer = text_tokenizer("qwen3")
    rows = [
        answer_row(question, answer, prompt=CHAT, tokenizer=tokenizer, limit=500)
        for question, answer in (("a b", "c"), (" a b\n", "c "))
    ]
    assert rows[0] == rows[1]
