"""What models call languages."""

import pytest

from xlharm.corpus.translate.languages import name_of, token_of
from xlharm.errors import UserError

NLLB, M2M = {"deu_Latn", "zho_Hans"}, {"__de__", "__xx__"}


def test_a_name_for_a_prompt() -> None:
    assert name_of("hy") == "Armenian"
    assert name_of("xx") == "the language with the code xx"


@pytest.mark.parametrize(
    ("language", "vocabulary", "given", "token"),
    [
        ("de", NLLB, None, "deu_Latn"),
        ("de", M2M, None, "__de__"),
        ("xx", M2M, None, "__xx__"),
        ("xx", NLLB, "zho_Hans", "zho_Hans"),
        ("yy", M2M, "xx", "__xx__"),
    ],
)
def test_a_token_of_either_family(language: str, vocabulary: set[str], given: str | None, token: str) -> None:
    assert token_of(language, known=vocabulary.__contains__, given=given) == token


def test_a_language_that_a_model_lacks() -> None:
    with pytest.raises(UserError, match=r"--to fr: .* no language with the code fra_Latn or __fr__.*--code fr=CODE"):
        token_of("fr", known=NLLB.__contains__)
    with pytest.raises(UserError, match="--code fr=frr: the model has no such language"):
        token_of("fr", known=NLLB.__contains__, given="frr")
