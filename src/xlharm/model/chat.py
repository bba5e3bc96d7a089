"""A tokenizer's chat template, taken apart into what stands around a question and around its answer."""

import datetime as dt
from typing import Any

from xlharm.errors import UserError

_QUESTION, _ANSWER = "questionq7f3a9", "answera5d2e8"  # stand for the texts while the template is rendered
# Some templates write today's date. Results must not depend on the day, so all see the date that Llama 3 falls back on.
_DATE = dt.datetime(2024, 7, 26, tzinfo=dt.UTC)
_DIRECTIVES = "aAbBcdFHIjmMpSTuUVwWxXyYzZ"  # what follows % in a format of time
# Templates call the switch by different names: Qwen 3, SmolLM 3 and GLM; Granite and DeepSeek; Cohere.
NO_THINKING = {"enable_thinking": False, "thinking": False, "reasoning": False}


def chat_parts(hf: Any, *, system: str | None) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the text before and after a question, and before and after its answer.

    The question's texts are what the template writes to ask for an answer, with thinking switched off. The answer's are
    what it writes between this and the answer, and after the answer, when the answer is part of the conversation.

    Args:
        hf: the Hugging Face tokenizer.
        system: the system prompt; None leaves it to the template.

    Raises:
        UserError: there is no chat template, or it refuses the conversation, or it does not show texts as they are.
    """
    if not getattr(hf, "chat_template", None):
        raise UserError(
            "prompt: the base's tokenizer has no chat template: take an instruction-tuned base, or say how questions "
            "are written, for example prompt: {question: 'Q: {question}\\nA:', answer: ' {answer}\\n'}"
        )
    opening = [] if system is None else [{"role": "system", "content": system}]
    asked = [*opening, {"role": "user", "content": _QUESTION}]
    prompt = _rendered(hf, asked, asks=True)
    whole = _rendered(hf, [*asked, {"role": "assistant", "content": _ANSWER}], asks=False)
    if prompt.count(_QUESTION) != 1 or whole.count(_ANSWER) != 1:
        raise UserError("prompt: the base's chat template does not write question and answer once each, as they are")
    before, _, after = prompt.partition(_QUESTION)
    until, _, tail = whole.partition(_ANSWER)
    # A template that drops an empty block of thinking from answered questions writes no text in between.
    lead = until.removeprefix(prompt) if until.startswith(prompt) else ""
    return (before, after), (lead, tail)


def _rendered(hf: Any, messages: list[dict[str, str]], *, asks: bool) -> str:
    from jinja2 import TemplateError

    try:
        template = hf.get_chat_template()
        return str(
            hf.apply_chat_template(
                messages,
                chat_template=_without_clock(template),
                tokenize=False,
                add_generation_prompt=asks,
                date_string=_DATE.strftime("%d %b %Y"),
                **NO_THINKING,
            )
        )
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        field = "prompt.system" if messages[0]["role"] == "system" else "prompt"
        raise UserError(f"{field}: the base's chat template refuses it: {' '.join(str(error).split())[:200]}") from None


def _without_clock(template: str) -> str:
    """Replace the function by which a template asks for the time; transformers takes no other function from us."""
    if "strftime_now" not in template:
        return template
    shown = "".join(f".replace('%{x}', '{_DATE.strftime('%' + x)}')" for x in _DIRECTIVES)
    shown = "".join(f".replace('%-{x}', '{int(_DATE.strftime('%' + x))}')" for x in "dmHIMSj") + shown
    return f"{{% macro strftime_now(format) %}}{{{{ format{shown} }}}}{{% endmacro %}}\n{template}"
