"""The frozen base model, and the adapters stacked on it."""
