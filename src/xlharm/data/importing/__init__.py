"""Makes corpora from other people's data sets."""

from xlharm.data.importing.run import Imported, import_corpus

__all__ = ["Imported", "import_corpus"]
