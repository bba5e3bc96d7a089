"""Is a corpus fit to run on? Findings as data: errors stop a run, warnings are printed."""

from xlharm.corpus.validate.aliases import suggestions
from xlharm.corpus.validate.check import validate
from xlharm.corpus.validate.findings import Finding

__all__ = ["Finding", "suggestions", "validate"]
