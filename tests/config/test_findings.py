"""Margins and groups of languages: their defaults, their bounds, and that they change no stage."""

import pytest

from tests.analysis.worlds import plan_of
from xlharm.config.findings import Findings
from xlharm.corpus.resources import low_resource
from xlharm.errors import UserError


def test_the_studys_languages_are_the_default_and_follow_their_classes() -> None:
    assert {language for language, level in Findings().resources.items() if level == "high"} == {"de", "fr", "zh", "ru"}
    assert {language for language, level in Findings().resources.items() if level == "low"} == {"jv", "ur", "ha", "hy"}
    assert all(low_resource(language) == (level == "low") for language, level in Findings().resources.items())


def test_they_change_no_stage() -> None:
    usual = plan_of(seeds=[0])
    other = plan_of(findings={"margin": 5, "resources": {"de": "low"}, "correction": "fdr"})
    assert [c.leaves for c in other.cells] == [c.leaves for c in usual.cells]


@pytest.mark.parametrize(
    "findings",
    [{"margin": 0}, {"margin": 101}, {"level": 0.5}, {"resources": {"de": "middle"}}, {"correction": "bonf"}],
)
def test_mistakes_name_the_field(findings: dict[str, object]) -> None:
    (field,) = findings
    with pytest.raises(UserError, match=rf"findings\.{field}"):
        plan_of(findings=findings)
