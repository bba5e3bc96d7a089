"""The bulletin corpora: short invented news of ten kinds, each told in five ways, in nine languages."""

LANGUAGES = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")
