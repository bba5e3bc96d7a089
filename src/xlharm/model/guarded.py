"""Encode templates and texts in one go, so that a text never becomes a control token such as `</s>`."""

import copy
import re
import secrets
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

from xlharm.errors import UserError


def control_tokens(hf: Any, *, ends: Collection[int]) -> dict[str, int]:
    """List the tokens that structure a sequence, as content and id: no text may produce them.

    They are the special tokens, those that end an answer, and those that the chat template writes (a tokenizer may
    have `<|im_end|>` or `<think>` as a token that is not special). White space is text.
    """
    templates = _chat_templates(hf)
    controls = {}
    for number, token in hf.added_tokens_decoder.items():
        content = str(token.content)
        written = not (content[:1].isalnum() or content[-1:].isalnum()) and content in templates
        if content.strip() and (token.special or number in ends or written):
            controls[content] = int(number)
    return controls


def _chat_templates(hf: Any) -> str:
    templates = getattr(hf, "chat_template", None) or ""
    return "\n".join(templates.values()) if isinstance(templates, dict) else str(templates)


class GuardedEncoder:
    """Encodes parts of a template, in which control tokens count, and texts, in which they do not.

    The tokenizer sees one string, so words are split as in the whole. If the template has control tokens, a copy of the
    tokenizer gets random names for them, which no text can contain, and the usual names are switched off.

    Args:
        hf: the Hugging Face tokenizer.
        controls: control tokens, as content and id.
    """

    def __init__(self, hf: Any, controls: Mapping[str, int]) -> None:
        self._hf = hf
        self._controls = dict(controls)
        self._pattern = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or r"(?!)")
        self._forbidden = frozenset(controls.values()) - {hf.unk_token_id}
        known = hf.added_tokens_decoder  # a copy at every access
        self._all_special = all(known[number].special for number in controls.values())
        self._names: dict[str, str] = {}
        self._ids: dict[int, int] = {}

    @cached_property
    def _backend(self) -> Any:
        """A copy of the Rust tokenizer with other names for control tokens; None if there is no Rust tokenizer.

        It takes as long to make as to load the tokenizer, so it is made only if it is needed.
        """
        backend = getattr(self._hf, "backend_tokenizer", None)
        return None if backend is None else self._guarded(copy.deepcopy(backend))

    def _guarded(self, backend: Any) -> Any:
        from tokenizers import AddedToken

        known = self._hf.added_tokens_decoder
        backend.no_truncation()
        backend.no_padding()
        backend.add_special_tokens([known[number] for number in self._controls.values()])
        backend.encode_special_tokens = True
        tokens = []
        for content, number in self._controls.items():
            self._names[content] = secrets.token_hex(16)
            flags = {name: getattr(known[number], name) for name in ("lstrip", "rstrip", "single_word", "normalized")}
            tokens.append(AddedToken(self._names[content], special=False, **flags))
        backend.add_tokens(tokens)
        self._ids = {backend.token_to_id(self._names[content]): n for content, n in self._controls.items()}
        return backend

    def encode(self, *parts: str) -> list[int]:
        """Return the ids of a template and texts in turns, the template first.

        Raises:
            UserError: a text holds a control token that this tokenizer cannot read as text.
        """
        if self._all_special and not any(self._pattern.search(part) for part in parts[::2]):
            settings = {"add_special_tokens": False, "split_special_tokens": True}
            ids = list(self._hf("".join(parts), **settings)["input_ids"])
        elif self._backend is not None:
            pieces = (part if i % 2 else self._renamed(part) for i, part in enumerate(parts))
            ids = self._backend.encode("".join(pieces), add_special_tokens=False).ids
        else:
            self._refuse(parts, among=self._controls)
            return list(self._hf("".join(parts), add_special_tokens=False)["input_ids"])
        if not self._forbidden.isdisjoint(ids):
            produced = self._forbidden.intersection(ids)
            self._refuse(parts, among=[content for content, n in self._controls.items() if n in produced])
            raise UserError(f"the base's tokenizer reads text as a control token: {''.join(parts[1::2])[:60]!r}")
        return [self._ids.get(number, number) for number in ids]

    def _renamed(self, part: str) -> str:
        return self._pattern.sub(lambda match: self._names[match.group()], part)

    @staticmethod
    def _refuse(parts: tuple[str, ...], *, among: Collection[str]) -> None:
        for text in parts[1::2]:
            for content in among:
                if content in text:
                    raise UserError(
                        f"a text holds {content!r}, which the base's tokenizer cannot read as text but only as a "
                        f"control token: {text[:60]!r}; take it out of the text"
                    )

    def before_controls(self, part: str) -> str:
        """Return a template's text before its first control token."""
        return self._pattern.split(part, maxsplit=1)[0]
