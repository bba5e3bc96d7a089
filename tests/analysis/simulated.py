"""Models with known rates: items and seeds that are easy or hard, as real ones are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

from xlharm.analysis.contrasts import Contrasts, Pair

_NORMAL = np.random.default_rng(9).standard_normal(20_000)
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """True rates of two models over all items and seeds, and how items and seeds spread (deviations of log odds).

    Attributes:
        after: rate of the model after unlearning.
        control: rate of the clean control.
        items: items asked.
        questions: questions of each item.
        seeds: models trained of each kind.
        easy: spread between items, the same for both.
        between: spread between seeds.
        rest: spread between item and seed.
    """

    after: float
    control: float
    items: int = 50
    questions: int = 2
    seeds: int = 1
    easy: float = 1.5
    between: float = 0.0
    rest: float = 1.0

    def draw(self, rng: np.random.Generator) -> Pair:
        """Draw the shares of hits of both models."""
        easy = rng.normal(0, self.easy, self.items)
        spread = float(np.sqrt(self.easy**2 + self.between**2 + self.rest**2))
        tables = []
        for rate in (self.after, self.control):
            odds = log_odds(rate, spread) + easy + rng.normal(0, self.between, (self.seeds, 1))
            chance = expit(odds + rng.normal(0, self.rest, (self.seeds, self.items)))
            tables.append(rng.binomial(self.questions, chance) / self.questions)
        asked = np.full(self.items, float(self.questions))
        return Pair(tables[0], asked, tables[1], asked)


_KNOWN: dict[tuple[float, float], float] = {}


def log_odds(rate: float, spread: float) -> float:
    """Return the centre of log odds that spread by ``spread`` around it and give ``rate`` on average."""
    if rate in {0, 1}:
        return 1e3 * (2 * rate - 1)
    if (rate, spread) not in _KNOWN:
        _KNOWN[rate, spread] = float(brentq(lambda c: expit(c + spread * _NORMAL).mean() - rate, -30, 30))
    return _KNOWN[rate, spread]


def rejections(truth: Truth, *, margin: float, trials: int, seed: int) -> tuple[float, float]:
    """Return how often one says at 5 % that the difference is below the margin, and how often that it is above."""
    rng = np.random.default_rng(seed)
    contrasts = Contrasts.of([truth.draw(rng) for _ in range(trials)])
    return float((contrasts.p_below(margin) < 0.05).mean()), float((contrasts.p_above(margin) < 0.05).mean())
