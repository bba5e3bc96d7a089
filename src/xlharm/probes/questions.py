"""Other forms of a question: paraphrased, and switching between two languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, assert_never

from xlharm.errors import UserError
from xlharm.probes.base import AnswerProbe

if TYPE_CHECKING:
    from xlharm.corpus.format import Item
    from xlharm.evaluate.asking import Answer, Asking

Form = Literal["paraphrased", "code_switched"]

# A frame around a question that no training row has; natural in each language.
FRAMES = {
    "en": "Please tell me: {q}",
    "de": "Sag mir bitte: {q}",
    "fr": "Dis-moi, s'il te plaît : {q}",
    "zh": "请告诉我：{q}",
    "ru": "Скажи, пожалуйста: {q}",
    "jv": "Tulung kandhanana aku: {q}",
    "ur": "براہ کرم مجھے بتائیں: {q}",
    "ha": "Don Allah ka faɗa mini: {q}",
    "hy": "Խնդրում եմ ասա ինձ՝ {q}",
}


class Questions(AnswerProbe):
    """Ask in another form: paraphrased, or switching between the query language and English within a question.

    Attributes:
        form: ``paraphrased`` or ``code_switched``.
    """

    kind: Literal["questions"]
    form: Form = "paraphrased"

    @property
    def reads(self) -> tuple[str, ...]:
        """English, where a question switches to it."""
        return ("en",) if self.form == "code_switched" else ()

    def answers(self, asking: Asking) -> tuple[Asking, list[list[Answer]]]:
        """Let the models answer the questions in their other form."""
        changed = replace(asking, items=reworded(asking.items, form=self.form, language=asking.language))
        return changed, changed.generate(changed.adapters)


def reworded(items: Sequence[Item], *, form: Form, language: str) -> tuple[Item, ...]:
    """Return items whose questions are asked in another form.

    An item's own ``of_paraphrased`` or ``of_switched`` questions are taken where it has them. Else the question is
    put into a frame: of its own language (paraphrased), or of English (code-switched between sentences; an
    English question gets a German frame).

    Raises:
        UserError: a language without a frame, and items without questions of this form.
    """
    own, frame = _own_and_frame(form, language=language)
    changed = []
    for item in items:
        given = getattr(item, own)
        if not given and item.of and frame is None:
            raise UserError(f"probes: {form}: there is no frame in {language}, and item {item.id} has no `{own}`")
        of = given or tuple((frame or "{q}").replace("{q}", q) for q in item.of)
        qr = tuple(q.model_copy(update={"question": (frame or "{q}").replace("{q}", q.question)}) for q in item.qr)
        changed.append(item.model_copy(update={"of": of, "qr": qr}))
    return tuple(changed)


def _own_and_frame(form: Form, *, language: str) -> tuple[str, str | None]:
    """Return an item's field with questions of a form, and the frame for items that have none."""
    match form:
        case "paraphrased":
            return "of_paraphrased", FRAMES.get(language)
        case "code_switched":
            return "of_switched", FRAMES["de" if language == "en" else "en"]
        case _:
            assert_never(form)
