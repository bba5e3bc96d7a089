"""Secrets do not get into the store."""

import pytest

from xlharm.engine.scrub import scrub


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("get s3://key:s3cr3t-value@host/x", "get s3://***@host/x"),
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer ***"),
        ("token hf_AbCdEfGhIjKl failed", "token *** failed"),
        ("nothing to hide at https://host/path?x=1", "nothing to hide at https://host/path?x=1"),
    ],
)
def test_shapes(text: str, clean: str) -> None:
    assert scrub(text, environment={}) == clean


def test_values_of_variables_that_sound_like_secrets() -> None:
    environment = {"WANDB_API_KEY": "abcdefgh12345678", "USE_TOKEN": "true", "HOME": "/home/someone"}
    assert scrub("abcdefgh12345678 true /home/someone", environment=environment) == "*** true /home/someone"
    assert scrub("/proc/self is a path", environment={"KEY_FILE": "/proc/self"}) == "/proc/self is a path"
