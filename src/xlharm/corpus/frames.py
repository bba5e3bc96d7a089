"""Other forms of a question: paraphrased, and switching between two languages."""

from collections.abc import Sequence

from xlharm.corpus.format import Item
from xlharm.errors import UserError

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


def reworded(items: Sequence[Item], *, form: str, language: str) -> tuple[Item, ...]:
    """Return items whose questions are asked in another form.

    An item's own ``of_paraphrased`` or ``of_switched`` questions are taken where it has them. Else the question is
    put into a frame: of its own language (paraphrased), or of English (code-switched between sentences; an
    English question gets a German frame).

    Raises:
        UserError: a language without a frame, and items without questions of this form.
    """
    own = "of_paraphrased" if form == "paraphrased" else "of_switched"
    switched = "de" if language == "en" else "en"
    frame = FRAMES.get(language if form == "paraphrased" else switched)
    found = []
    for item in items:
        given = getattr(item, own)
        if not given and item.of and frame is None:
            raise UserError(f"probes: {form}: there is no frame in {language}, and item {item.id} has no `{own}`")
        asked = given or tuple((frame or "{q}").replace("{q}", q) for q in item.of)
        qr = tuple(q.model_copy(update={"question": (frame or "{q}").replace("{q}", q.question)}) for q in item.qr)
        found.append(item.model_copy(update={"of": asked, "qr": qr}))
    return tuple(found)
