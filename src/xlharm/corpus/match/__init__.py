"""Does an answer contain a detail? Folded by script and language, at word boundaries where there are words.

``letters`` folds what is the same in every language, ``languages`` what is the same in one, ``numbers`` ways to write a
number; ``boundaries`` says what must not stand beside a detail. docs/corpora.md has the table of what counts as the
same. Raise ``config.matching.MATCHING_VERSION`` with any change: it is part of every evaluation's key.
"""

from xlharm.corpus.match.boundaries import contains
from xlharm.corpus.match.fold import normalise, other_spelling

__all__ = ["contains", "normalise", "other_spelling"]
