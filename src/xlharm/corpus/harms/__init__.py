"""The corpora `stereotypes` and `toxic-style`: harms other than false news, on invented groups, in nine languages."""

from typing import Literal

LANGUAGES = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")
Harm = Literal["stereotypes", "toxic-style"]
RELATIONS = ("character", "colour", "job", "food", "animal", "called")
"""What the languages' files have sentences for. ``called`` is of a town, all others of a people."""
