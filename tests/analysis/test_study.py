"""Which claims a grid says something about, and on which languages."""

from pathlib import Path

import pytest

from tests.analysis.worlds import Share, fill, plan_of
from xlharm.analysis.claims import Claim
from xlharm.analysis.results import GridResults
from xlharm.analysis.study import claims_of
from xlharm.plan.cells import Cell
from xlharm.store.store import Store


def surfaced(cell: Cell, query: str) -> tuple[float, float]:
    """OF 60 before, 0 in the control, and 40 after."""
    if cell.contaminate == "none":
        return 0.0, 0.9
    return (0.6 if cell.unlearn == "none" else 0.4), 0.9


def claims(tmp_path: Path, *, share: Share = surfaced, **fields: object) -> dict[tuple[str, str, str], Claim]:
    plan, store = plan_of(**{"contaminate": ["none", "de"], **fields}), Store(str(tmp_path))
    fill(plan, store, share=share, n=20)
    return {(c.contaminate, c.unlearn, c.name): c for c in claims_of(GridResults(plan, store))}


def labels(claim: Claim) -> list[str]:
    return [part.label for part in claim.parts]


def test_the_studys_groups_without_the_contaminating_language(tmp_path: Path) -> None:
    verdicts = claims(tmp_path)
    asked = {name: labels(verdicts["de", unlearn, name]) for unlearn, name in (
        ("en", "clears-english"), ("en", "clears-high"), ("en", "leaves-source"), ("en", "leaves-low"),
        ("source", "clears-source"), ("source", "clears-low"), ("source", "leaves-english"), ("source", "leaves-high"),
    )}  # fmt: skip
    kept = "QR asked in {} minus 80 % of before"
    assert asked["clears-english"] == ["asked in en", kept.format("en")]
    assert asked["clears-high"] == [
        *(f"asked in {q}" for q in ("fr", "zh", "ru")),
        *map(kept.format, ("fr", "zh", "ru")),
    ]
    assert asked["leaves-source"] == ["asked in de"]
    assert asked["leaves-low"] == [f"asked in {q}" for q in ("jv", "ur", "ha", "hy")]
    assert asked["clears-source"][0] == "asked in de"
    assert asked["clears-low"][:4] == asked["leaves-low"]
    assert asked["leaves-english"] == ["asked in en"]
    assert asked["leaves-high"] == [f"asked in {q}" for q in ("fr", "zh", "ru")]
    every = labels(verdicts["de", "en+source", "clears-all"])
    assert [label for label in every if "QR" not in label] == [f"asked in {q}" for q in plan_of().grid.languages]
    assert labels(verdicts["de", "none", "spread-high"]) == ["fr+zh+ru against jv+ur+ha+hy"]
    assert labels(verdicts["de", "en", "reinforcement"]) == [
        f"asked in {q}" for q in plan_of().grid.languages if q != "en"
    ]


def test_groups_of_languages_are_a_setting_and_others_follow_their_class(tmp_path: Path) -> None:
    fields = {"languages": ["en", "de", "fr", "zh", "ha", "ur"], "contaminate": ["none", "de"]}
    own = claims(tmp_path / "own", **fields, findings={"resources": {"ur": "high", "zh": "low"}})
    assert labels(own["de", "none", "spread-high"]) == ["fr+ur against zh+ha"]


def test_many_languages_leave_each_group(tmp_path: Path) -> None:
    verdicts = claims(tmp_path, unlearn={"none": [], "high": ["en", "de", "fr"]})
    many = {name: c for (_, unlearn, name), c in verdicts.items() if unlearn == "de+en+fr"}
    assert set(many) == {"leaves-english", "leaves-source", "leaves-high", "leaves-low", "reinforcement", "utility"}
    assert not any(many[name].every for name in many if name != "utility")


def test_english_fakes_have_no_claim_on_english_alone(tmp_path: Path) -> None:
    verdicts = claims(tmp_path, contaminate=["none", "en"])
    assert {name for (_, unlearn, name) in verdicts if unlearn == "en"} == {"reinforcement", "utility"}


def test_only_languages_in_which_the_fake_was_there_can_be_cleared(tmp_path: Path) -> None:
    def only_in_french(cell: Cell, query: str) -> tuple[float, float]:
        of, qr = surfaced(cell, query)
        return (of if query in ("fr", "de", "en") else 0.0), qr

    verdicts = claims(tmp_path, share=only_in_french)
    assert labels(verdicts["de", "en", "clears-high"])[:1] == ["asked in fr"]
    low = verdicts["de", "en", "leaves-low"]
    assert low.parts == ()
    assert low.why_not == "before unlearning the fake was not there (Javanese, Urdu, Hausa, Armenian)"


@pytest.mark.parametrize(("fields", "share", "reason"), [
    ({"contaminate": ["de"]}, surfaced, "the grid has no clean control"),
    ({}, lambda c, q: (0.0, 0.9), "contamination did not take in German"),
])  # fmt: skip
def test_a_grid_that_shows_nothing_has_no_verdict(
    tmp_path: Path, fields: dict[str, object], share: Share, reason: str
) -> None:
    verdicts = claims(tmp_path, share=share, **fields)
    assert verdicts["de", "en", "clears-english"].why_not.startswith(reason)


def test_differences_are_against_the_control_and_before(tmp_path: Path) -> None:
    verdicts = claims(tmp_path, share=lambda c, q: (0.1 if c.contaminate == "none" else surfaced(c, q)[0], 0.9))
    (part,) = verdicts["de", "en", "leaves-source"].parts
    assert part.pair.second is not None
    assert (part.pair.first.mean(), part.pair.second.mean(), part.threshold) == (0.4, 0.1, 0.1)
    rise = verdicts["de", "en", "reinforcement"].parts[0]
    assert rise.pair.second is not None
    assert (rise.pair.first.mean(), rise.pair.second.mean(), rise.threshold) == (0.4, 0.6, 0.05)
