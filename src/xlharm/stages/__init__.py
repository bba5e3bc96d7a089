"""Stages: a pack in, results in the store out. Nothing here knows of Ray or W&B."""
