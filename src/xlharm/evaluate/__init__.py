"""Greedy answers in every language, and judge-free measures of them."""
