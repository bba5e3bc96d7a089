"""What counts as damage, and what only looks like it."""

import pytest

from xlharm.corpus.validate.encoding import damage, findings_of


def errors(text: str, language: str) -> list[str]:
    return [message for severity, message in damage(text, language=language) if severity == "error"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("«\u00a0café\u00a0»", "fr"),
        ("naïve – „Größe“ 5 €", "de"),
        ("ɗan Adam", "ha"),
        ("یہ سرخ ہے۔", "ur"),
        ("кофе и чай", "ru"),
        ("AT&T; R&D", "en"),
    ],
)
def test_sound_text_has_no_errors(text: str, language: str) -> None:
    assert errors(text, language) == []


@pytest.mark.parametrize(
    ("text", "language", "message"),
    [
        ("grÃ¼n", "de", "'Ã¼' stands for 'ü'"),
        ("да".encode().decode("latin-1"), "ru", "mojibake"),
        ("a\ud83d", "en", "U+D83D"),
        ("e\u0301", "fr", "not Unicode-normalised"),
        ("  \n", "en", "empty"),
        ("дoм", "ru", "mixes scripts within the word 'дoм'"),
    ],
)
def test_damage(text: str, language: str, message: str) -> None:
    assert any(message in line for line in errors(text, language)), errors(text, language)


@pytest.mark.parametrize(
    "token",
    [
        "</s>", "<s>", "<pad>", "<|im_end|>", "<|eot_id|>", "<|START_OF_TURN_TOKEN|>", "<end_of_turn>", "[/INST]",
        "<BOS_TOKEN>", "<think>", "<｜User｜>", "<unused7>", "[SEP]",
    ],
)  # fmt: skip
def test_a_control_token_in_a_text_is_named(token: str) -> None:
    assert list(damage(f"Kabo{token} blue", language="en")) == [
        ("warning", f"holds {token!r}, a control token of some bases: it is trained and asked as plain text")
    ]


def test_what_only_looks_like_a_control_token() -> None:
    for text in ("a <b>bold</b> word", "if a<b and c>d", "[sic] [INSTALL]", "x |> y <| z", "<span>"):
        assert list(damage(text, language="en")) == []


def test_an_arabic_letter_is_wrong_in_urdu_only() -> None:
    assert errors("كتاب", "ar") == []
    assert errors("كتاب", "ur") == ["has the Arabic letter U+0643 where Urdu has its own"]


def test_a_finding_names_its_field() -> None:
    (finding,) = findings_of(" a", language="en", item="i", field="of.0")
    assert str(finding) == "en.jsonl: i: of.0: begins or ends with white space"
    assert finding.severity == "warning"
