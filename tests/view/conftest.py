"""The grids of the tests of analysis."""

from tests.analysis.conftest import empty, full, partial, plan

__all__ = ["empty", "full", "partial", "plan"]
