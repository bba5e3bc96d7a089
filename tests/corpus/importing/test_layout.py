"""What names of folders and files say."""

import pytest

from xlharm.corpus.importing.layout import is_tofu, names_roles, place_of, split_of


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("de", ("", "de")),
        ("pt-BR", ("", "pt-BR")),
        ("forget01_fr", ("forget01", "fr")),
        ("forget01_perturbed_hi", ("forget01_perturbed", "hi")),
        ("retain99_iw", ("retain99", "iw")),
        ("real_authors_zh-Hans", ("real_authors", "zh-Hans")),
        ("news.ur", ("news", "ur")),
        ("forget-German", ("forget", "German")),
        ("German", ("", "German")),
        ("my_set", None),  # no language has the code `set`
        ("forget01_perturbed", None),
        ("world_facts", None),
        ("_fr", None),
    ],
)
def test_place_of_a_name(name: str, place: tuple[str, str] | None) -> None:
    assert place_of(name, known=("German",)) == place


def test_splits_of_folders() -> None:
    place = place_of("forget01_fr")
    assert place is not None
    assert split_of(place, "train", among=["train"]) == "forget01"
    assert split_of(place, "test", among=["train", "test"]) == "forget01-test"
    german = place_of("de")
    assert german is not None
    assert split_of(german, "forget10", among=["forget10", "retain90"]) == "forget10"


def test_what_tofu_calls_its_splits() -> None:
    assert [is_tofu(name) for name in ("forget01", "forget10_perturbed", "forget", "retain99")] == [
        True,
        True,
        False,
        False,
    ]
    assert names_roles(["x", "retain90"])
    assert not names_roles(["train", "test"])
