"""Makes corpora from other people's data sets."""

from xlharm.corpus.importing.run import Imported, import_corpus

__all__ = ["Imported", "import_corpus"]
