"""The frozen base, and the pool of adapters stacked on it."""
