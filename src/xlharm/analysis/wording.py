"""Words for languages, and hostile text made safe to look at."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from xlharm.visible import CONTROL

_NAMES = {
    "am": "Amharic", "ar": "Arabic", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "cs": "Czech",
    "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "ha": "Hausa", "he": "Hebrew", "hi": "Hindi",
    "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "ig": "Igbo", "it": "Italian",
    "ja": "Japanese", "jv": "Javanese", "ka": "Georgian", "kk": "Kazakh", "km": "Khmer", "ko": "Korean",
    "ku": "Kurdish", "lo": "Lao", "lt": "Lithuanian", "lv": "Latvian", "ml": "Malayalam", "mr": "Marathi",
    "ms": "Malay", "my": "Burmese", "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pa": "Punjabi",
    "pl": "Polish", "ps": "Pashto", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sd": "Sindhi",
    "si": "Sinhala", "sk": "Slovak", "sl": "Slovene", "so": "Somali", "sr": "Serbian", "sv": "Swedish",
    "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tr": "Turkish", "ug": "Uyghur",
    "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese", "xh": "Xhosa", "yi": "Yiddish",
    "yo": "Yoruba", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip
_RIGHT_TO_LEFT = {"ar", "arc", "ckb", "dv", "fa", "he", "ks", "nqo", "ps", "sd", "syr", "ug", "ur", "yi"}
_RIGHT_TO_LEFT_SCRIPTS = {"Arab", "Aran", "Hebr", "Syrc", "Thaa", "Nkoo"}

_CREDENTIALS = re.compile(r"(://)[^/\s@]+@")


@dataclass(frozen=True)
class Language:
    """A language as the page shows it."""

    code: str

    @property
    def name(self) -> str:
        """English name, or the code when it is none of the usual ones."""
        main, _, rest = self.code.partition("-")
        name = _NAMES.get(main, main)
        return f"{name} ({rest})" if rest else name

    @property
    def direction(self) -> str:
        """``rtl`` where the language runs right to left; else ``auto``, the first strong letter decides."""
        main, *rest = self.code.split("-")
        scripts = [part for part in rest if len(part) == 4]
        if scripts:
            return "rtl" if scripts[0].title() in _RIGHT_TO_LEFT_SCRIPTS else "auto"
        return "rtl" if main in _RIGHT_TO_LEFT else "auto"


def hostile(text: str, *, most: int = 600) -> Markup:
    """Escape text that a model wrote; controls that could reorder or hide text become visible marks.

    Args:
        text: anything.
        most: characters kept; the rest is counted.
    """
    kept, cut = text[:most], max(0, len(text) - most)
    parts, last = [Markup("")], 0
    for hit in CONTROL.finditer(kept):
        parts.append(escape(kept[last : hit.start()]))
        parts.append(Markup('<span class="ctl">U+{:04X}</span>').format(ord(hit.group())))
        last = hit.end()
    parts.append(escape(kept[last:]))
    if cut:
        parts.append(Markup('<span class="ctl">… {} more characters</span>').format(cut))
    return Markup("").join(parts)


def listed(words: Sequence[str], *, last: str = " and ") -> str:
    """Join words with commas, and the last one with another word."""
    return last.join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def without_credentials(text: str) -> str:
    """Take user names and passwords out of URLs."""
    return _CREDENTIALS.sub(r"\1", text)


def shown_source(name: str) -> str:
    """Show a base or corpus as written, but only the last part of a path: reports travel."""
    is_path = name.startswith(("/", "~", ".")) or "\\" in name
    return re.split(r"[\\/]", name.rstrip("\\/"))[-1] if is_path else name
