"""Searches over the numbers of one method of a cell, on Ray Tune."""
