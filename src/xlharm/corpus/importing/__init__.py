"""Makes corpora from other people's data sets."""

from xlharm.corpus.importing.account import Imported
from xlharm.corpus.importing.run import import_corpus

__all__ = ["Imported", "import_corpus"]
