"""Hyperparameter search for the method of one cell, on Ray Tune."""
