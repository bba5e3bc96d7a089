"""Damage of encoding: text decoded wrongly, letters of a neighbouring script, forms that are not normalised."""

import unicodedata
from collections.abc import Iterator

import regex

from xlharm.corpus.validate.findings import Finding, Severity
from xlharm.corpus.validate.scripts import foreign_letters, script_of

# A run of characters that are what UTF-8 bytes look like when read as Windows-1252 or Latin-1.
_MOJIBAKE = regex.compile(
    "[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2010-\u203a\u20ac\u2122]{2,}"
)
# Tokens that structure a sequence for some base; see xlharm.model.guarded for those of one base.
_CONTROL_TOKENS = regex.compile(
    r"<\|[^\s<>|]{1,40}\|>|<｜[^\s<>｜]{1,40}｜>|</?s>|<(?:pad|unk|bos|eos|mask|sep|cls|eod)>|<(?:BOS|EOS|PAD|UNK)_TOKEN>|"
    r"<(?:start|end)_of_turn>|<(?:extra_id_|unused)\d+>|</?(?:think|tool_call|tool_response)>|\[/?INST\]|<</?SYS>>|"
    r"\[(?:PAD|CLS|SEP|MASK|UNK|BOS|EOS)\]"
)
_PATTERNS: tuple[tuple[Severity, regex.Pattern[str], str], ...] = (
    ("error", regex.compile("\ufffd"), "has {code}: it was decoded with errors"),
    (
        "error",
        regex.compile(r"[\p{Cc}\p{Cs}\p{Co}\p{Cn}--[\n\t]]", regex.VERSION1),
        "has the control or private character {code}",
    ),
    (
        "error",
        regex.compile("[\ufb13-\ufb17\ufb50-\ufdcf\ufe70-\ufefc]"),
        "has the presentation form {code} where a letter belongs",
    ),
    (
        "error",
        regex.compile(
            r"(?<![\p{L}\p{M}])[\p{L}\p{M}]*"
            r"(?:\p{Latin}\p{M}*(?:\p{Cyrillic}|\p{Armenian})|(?:\p{Cyrillic}|\p{Armenian})\p{M}*\p{Latin})\p{L}*"
        ),
        "mixes scripts within the word {found!r}",
    ),
    (
        "error",
        regex.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|[lr]dquo|[lr]squo|[mn]dash|hellip|#\d{2,6}|#x[0-9a-f]{2,5});"),
        "has the HTML entity {found!r}",
    ),
    (
        "warning",
        regex.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"),
        "has invisible {code}",
    ),
    ("warning", regex.compile(r"^\s|\s$"), "begins or ends with white space"),
    (
        "warning",
        _CONTROL_TOKENS,
        "holds {found!r}, a control token of some bases: it is trained and asked as plain text",
    ),
)
_URDU: tuple[tuple[Severity, regex.Pattern[str], str], ...] = (
    ("error", regex.compile("[\u064a\u0643]"), "has the Arabic letter {code} where Urdu has its own"),
    ("warning", regex.compile("\u0647"), "has the Arabic letter {code} where Urdu has U+06C1"),
)


def damage(text: str, *, language: str) -> Iterator[tuple[Severity, str]]:
    """Yield (severity, message) for every sort of damage in a text."""
    if not text.strip():
        yield "error", "empty"
        return
    urdu = language.split("-", maxsplit=1)[0] == "ur"
    for severity, pattern, message in (*_PATTERNS, *(_URDU if urdu else ())):
        if found := pattern.search(text):
            yield severity, message.format(found=found.group(), code=f"U+{ord(found.group()[0]):04X}")
    for run in _MOJIBAKE.findall(text):
        if meant := _meant(run, language):
            yield "error", f"looks like mojibake: {run!r} stands for {meant!r}"
            break
    if not unicodedata.is_normalized("NFC", text):
        yield "error", "is not Unicode-normalised (NFC)"


def _meant(run: str, language: str) -> str:
    """Return what a run says when its bytes are read as UTF-8, or nothing where that is chance.

    French « café », with its no-break space, are the bytes of one rare Chinese character: a single one counts only
    where it is of the language's own script, and none of the phonetic letters that Hausa alone uses.
    """
    for codec in ("cp1252", "latin-1"):
        try:
            meant = run.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
        script = script_of(language)
        foreign = script is not None and foreign_letters(script).search(meant)
        phonetic = "\u0250" <= meant <= "\u02af" and not language.startswith("ha")
        return "" if len(meant) == 1 and (foreign or phonetic) else meant
    return ""


def findings_of(text: str, *, language: str, item: str, field: str) -> list[Finding]:
    """Return the damage of one field as findings."""
    return [Finding(severity, language, item, field, told) for severity, told in damage(text, language=language)]
