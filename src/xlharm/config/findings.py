"""When a finding counts: margins and groups of languages, written down in the grid file before data are seen."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from xlharm.config.training import Language, Strict

Points = Annotated[float, Field(gt=0, le=100)]
Resources = Literal["high", "low"]
ClaimName = Literal[
    "spread-english", "spread-every", "spread-high", "spread-own",
    "clears-english", "leaves-english", "clears-source", "leaves-source", "clears-high", "leaves-high",
    "clears-low", "leaves-low", "clears-all", "reinforcement", "utility",
]  # fmt: skip
CLAIMS: tuple[ClaimName, ...] = get_args(ClaimName)
"""The claims of the study, in the order of the view `findings`."""
STUDY: dict[str, Resources] = {
    "de": "high", "fr": "high", "zh": "high", "ru": "high",
    "jv": "low", "ur": "low", "ha": "low", "hy": "low",
}  # fmt: skip


class Findings(Strict):
    """What the verdicts of `results --view findings` and the marks in tables go by. It changes no stage.

    Attributes:
        claims: which claims are judged; default: all.
        margin: points by which OF (occurrence of the fake) may exceed the clean control's and count as cleared;
            above them the fake is left. Half of ``surfaces``.
        surfaces: points by which OF must exceed the clean control's for a fake detail to surface in a language
            (2406.13748 speaks of an OF of 20 or more).
        rise: points by which OF must rise in a language outside the unlearning set for reinforcement.
        qr_fall: percent of QR (quality on the real) that may be lost: more is damage (2406.13748).
        known: points of QR before unlearning from which on a language counts for ``qr_fall``: a model cannot lose what
            it did not know.
        resources: which languages have much text (``high``) and which little (``low``), besides English. Languages that
            are not named follow their class in Joshi et al. 2020 (2004.09095): 4 and 5 are high.
        level: highest chance of a wrong verdict in a family.
        correction: of the p-values of `effects`: ``holm`` (chance of any wrong verdict in a family), ``fdr``
            (expected share of wrong ones among the verdicts, Benjamini & Hochberg 1995) or ``none``.
    """

    claims: Annotated[tuple[ClaimName, ...], Field(min_length=1)] = CLAIMS
    margin: Points = 10.0
    surfaces: Points = 20.0
    rise: Points = 5.0
    qr_fall: Points = 20.0
    known: Points = 20.0
    resources: dict[Language, Resources] = Field(default_factory=lambda: dict(STUDY))
    level: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    correction: Literal["holm", "fdr", "none"] = "holm"
