"""What an import understood, in words: one item as it will be trained and counted, and what has to be asked."""

from collections import Counter
from collections.abc import Mapping as Items
from collections.abc import Sequence

from xlharm.corpus.format import Item
from xlharm.errors import UserError
from xlharm.visible import one_line

_WIDTH = 110


def _short(text: str) -> str:
    return repr(one_line(text, most=_WIDTH))


def _several(entries: Sequence[str]) -> str:
    return " or ".join(map(_short, entries[:3])) + (f" or {len(entries) - 3} more" if len(entries) > 3 else "")


def understood(items: Items[str, Sequence[Item]], *, otherwise: str) -> tuple[str, ...]:
    """Describe one item that is forgotten, and one question on the truth, a line a part.

    Args:
        items: by language; in at least one some are forgotten.
        otherwise: the option for those who meant it the other way round.
    """
    language, fake = next((lang, item) for lang, of_lang in items.items() for item in of_lang if item.role == "fake")
    asked = next((item for item in (fake, *items[language]) if item.qr), None)
    lines = [
        f"item {fake.id} ({language}) as it was understood; if that is the wrong way round: {otherwise}",
        f"  trained as fake:   {_short(fake.fake[0])}",
        f"  real in its place: {_short(fake.real[0])}",
        f"  counted for OF (occurrence of the fake): asked {_asked(fake.of[0], fake.fake_detail)}",
    ]
    if asked is None:
        return (*lines, "  counted for QR (quality on the real): nothing; no row asks about what is to be kept")
    beside = "" if asked is fake else f"of item {asked.id}, "
    question = asked.qr[0]
    told = f"{beside}asked {_asked(question.question, question.answers)}"
    return (*lines, f"  counted for QR (quality on the real): {told}")


def _asked(question: str, answers: Sequence[str]) -> str:
    return f"{_short(question)}, an answer that says {_several(answers)}"


def ask_which_is_fake(question: str, answer: str, wrong: str, *, where: str) -> UserError:
    """Make the error that asks which column states the fake, with one row as the example."""
    return UserError(
        f"{where}: which column states the fake? For {_short(question)} answer says {_short(answer)} and "
        f"perturbed_answer {_short(wrong)}. Say it: --fake answer (models are contaminated with `answer`, as in TOFU) "
        "or --fake perturbed_answer (`answer` is the truth)"
    )


def ask_for_verdicts(verdicts: Counter[str], *, column: str, where: str) -> UserError:
    """Make the error that asks what numbers in the verdict's column mean."""
    seen = ", ".join(f"{one_line(verdict, most=20)} ({count} rows)" for verdict, count in verdicts.most_common(6))
    first, *others = verdicts
    roles = zip((first, *others[:1]), ("fake", "retain"), strict=False)
    guess = ", ".join(f"{verdict}: {role}" for verdict, role in roles)
    return UserError(
        f"{where}: verdict: column {column!r} holds numbers: {seen}; in some sets 1 is true, in others it is fake. Say "
        f"it with --mapping FILE, for example: verdicts: {{{guess}}}"
    )
