"""corpus.yaml is checked wherever it is read: by plan, run and validate alike."""

from pathlib import Path

import pytest

from xlharm.corpus.folder import corpus_info
from xlharm.corpus.validate import validate
from xlharm.errors import UserError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 2\nlanguages: [en]\n", "schema: this xlharm reads corpora of schema 1, found 2"),
        ("languages: en\n", "languages: expected a list of language codes"),
        ("languages: []\n", "languages: expected a list of language codes"),
        ("languages: [en]\naccept: en\n", "accept: expected a list of beginnings of findings"),
        (
            "languages: [en]\nharm: styles\n",
            "harm: expected one of news, claims, stereotypes, style, found 'styles';",
        ),
        ("languages: [en\n", "line 2: not valid YAML: expected"),
        ("- en\n", "expected fields (name, version, schema, languages, licence)"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "corpus.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        corpus_info(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'corpus.yaml'}: {message}")
    (found,) = validate(tmp_path)
    assert str(found).startswith(f"corpus.yaml: {message}")


def test_no_is_norwegian_and_the_first_schema_needs_no_saying(tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text("languages: [no, en]\n")
    assert corpus_info(tmp_path)["languages"] == ["no", "en"]
    assert corpus_info(tmp_path)["harm"] == "news"
