"""Which spellings count is a setting; at its default it is no part of a key."""

from typing import Any

import pytest

from tests.plan.worlds import grid_of, plan_of
from xlharm.config.load import parse_grid
from xlharm.config.matching import MATCHING_VERSION, default_variants, variants_of
from xlharm.errors import UserError


def asked(matching: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the specs of the evaluations by query language."""
    plan = plan_of(grid_of(languages=["en", "de", "ha"], evaluate={"matching": matching}))
    return {s.spec["query"]: s.spec for s in plan.stages.values() if s.kind == "evaluate"}


def test_defaults() -> None:
    assert {code: default_variants(code) for code in ("de", "de-AT", "nb", "ha", "en", "zh-Hant")} == {
        "de": ("digraphs",), "de-AT": ("digraphs",), "nb": ("digraphs",), "ha": (), "en": (), "zh-Hant": (),
    }  # fmt: skip
    assert variants_of({"ha": ("plain_letters",)}, "ha") == ("plain_letters",)
    assert variants_of({"de": ()}, "de") == ()
    assert variants_of({"de": ()}, "nb") == ("digraphs",)


@pytest.mark.parametrize("matching", [{}, {"de": ["digraphs"]}, {"ha": []}, {"de": ["digraphs"], "ha": []}])
def test_what_is_the_default_anyway_is_left_out_of_keys(matching: dict[str, Any]) -> None:
    specs = asked(matching)
    assert all("matching" not in spec and spec["matching_version"] == MATCHING_VERSION for spec in specs.values())


def test_another_setting_is_part_of_its_own_languages_keys() -> None:
    plain, changed = asked({}), asked({"de": [], "ha": ["plain_letters"]})
    assert changed["en"] == plain["en"]
    assert changed["de"] == {**plain["de"], "matching": []}
    assert changed["ha"] == {**plain["ha"], "matching": ["plain_letters"]}


@pytest.mark.parametrize(
    ("matching", "message"),
    [
        ({"en": ["digraphs"]}, "matching.en: digraphs does not apply to this language (nothing to choose)"),
        ({"ha": ["digraphs"]}, "matching.ha: digraphs does not apply to this language (plain_letters)"),
        ({"ha": ["hooks"]}, "evaluate.matching.ha.0"),
    ],
)
def test_variants_that_a_language_lacks_are_refused(matching: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        parse_grid(grid_of(evaluate={"matching": matching}), name="grid.yaml")
