"""Stages: run a pack, and commit its results to the store. Nothing here depends on Ray or W&B."""
