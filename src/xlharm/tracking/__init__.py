"""Experiment trackers as a mirror of the store."""
