"""xlharm: grids that study how harm spreads across the languages of an LLM."""

__version__ = "0.1.0"
