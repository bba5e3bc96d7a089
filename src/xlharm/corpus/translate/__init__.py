"""Fills the missing languages of a corpus from English, and lists what could not be translated soundly."""
