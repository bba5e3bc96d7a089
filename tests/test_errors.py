"""Errors that travel between processes, and words that were meant."""

import copy

from xlharm.errors import CorruptArtifactError, nearest


def test_a_damaged_stage_keeps_its_key_between_processes() -> None:
    error = copy.copy(CorruptArtifactError("does not match", key="k" * 64))
    assert (type(error), str(error), error.key) == (CorruptArtifactError, "does not match", "k" * 64)


def test_the_nearest_word() -> None:
    assert nearest("langages", ["languages", "lora"]) == "; did you mean 'languages'?"
    assert nearest("zzz", ["languages"]) == ""
