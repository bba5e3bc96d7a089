"""Files of others are read with limits; what is wrong is one line."""

from pathlib import Path

import pytest

from xlharm.errors import UserError
from xlharm.plain_files import MAX_DEPTH, expanded, parse_json, read_text, read_yaml

BOMB = "a: &k0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"b{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object:os.system x\n", "line 1: tag tag:yaml.org,2002:python/object:os.system"),
        ("a: 1\nb: !mine [1]\n", "line 2: tag !mine"),
        (BOMB, "line 5: more than 20000 values"),
        ("a: &a [*a]\n", "line 1: alias *a stands before or inside what it names"),
        ("[" * 900, "line 1: nested deeper than 64 levels"),
        ("- " * 900, "line 1: nested deeper than 64 levels"),
        ("a: " + "9" * 5000, "a number of thousands of digits"),
        ("a: [1\n", "line 2: not valid YAML"),
        ("a: 1\na: 2\n", 'line 2: not valid YAML: found duplicate key "a"'),
        ("a: \x07\n", "not valid YAML"),
        ("a: " + "x" * (1 << 20), "at most 1048576 are read"),
    ],
)
def test_yaml_beyond_limits(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert message in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300
    assert "\n" not in str(caught.value)


def test_yaml_that_is_plain(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("date: 2024-01-01\nlanguages: &l [no, en]\nagain: *l\nrate: 1e-5\n")
    languages = ["no", "en"]
    assert read_yaml(path) == {"date": "2024-01-01", "languages": languages, "again": languages, "rate": 1e-5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 5000 + "]" * 5000, "nested deeper"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested deeper"),
        ("9" * 5000, "a number of thousands of digits"),
        ('{"a": ["\\ud83d"]}', r"half a character \(U\+D83D"),
        ('{"\\ude00": 1}', r"half a character \(U\+DE00"),
        ("{", "Expecting property name"),
    ],
)
def test_json_beyond_limits(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_that_is_plain() -> None:
    assert (
        parse_json('{"a": "\\ud83d\\ude00", "b": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}")["a"] == "😀"
    )


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        ("question;Bär\n", "cp1252", "cp1252"),
        ("Москва — большой город, в котором живут люди.\n", "cp1251", "cp1251"),
        ("a,b\n", "utf-16", "utf-16"),
        ("a,b\n", "utf-16-be", "utf-16-be"),
    ],
)
def test_encodings_are_named(tmp_path: Path, text: str, encoding: str, named: str) -> None:
    path = tmp_path / "my x.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=f"it looks like {named}; convert it: iconv -f {named.upper()} -t UTF-8 '"):
        read_text(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a file"):
        read_text(tmp_path)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_text(tmp_path / "x")
    with pytest.raises(UserError, match="at most 255 bytes"):
        expanded("x" * 300)
    assert expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
