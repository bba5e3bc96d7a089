"""Corpora in, token rows out. No torch: rows are plain lists of ids."""
