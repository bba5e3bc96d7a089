"""Is a corpus fit to run on? Findings as data: errors stop a run, warnings are printed."""

from xlharm.data.validate.check import validate
from xlharm.data.validate.findings import Finding

__all__ = ["Finding", "validate"]
