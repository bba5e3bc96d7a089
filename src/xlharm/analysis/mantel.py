"""Tests on values of pairs of languages: pairs share languages, so they are no independent evidence.

What is permuted are the languages' names in the distances, rows and columns together (Mantel 1967), which keeps the
dependence between pairs. All permutations are taken where they are few, else random ones with the observed one among
them (Phipson & Smyth 2010).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import atanh, factorial, sqrt, tanh

import numpy as np
import numpy.typing as npt

from xlharm.analysis.statistics import Interval

_Floats = npt.NDArray[np.float64]
_Places = npt.NDArray[np.int64]
MOST = 2000
"""Permutations, with the observed order."""
LEAST_LANGUAGES = 4
"""Fewer have so few orders that nothing can be shown."""
_NEARLY_ONE = 1 - 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """A value for each of some ordered pairs of n languages, and one or more distances between all of them.

    Attributes:
        places: the languages of each pair by their numbers, [pairs, 2]; never twice the same.
        values: of each pair, [pairs].
        distances: [kinds, n, n].
    """

    places: _Places
    values: _Floats
    distances: _Floats

    @property
    def n(self) -> int:
        """Number of languages."""
        return int(self.distances.shape[1])

    def without(self, language: int) -> "Pairs":
        """Return the pairs that a language is no part of; the other languages keep their numbers."""
        kept = (self.places != language).all(1)
        return Pairs(places=self.places[kept], values=self.values[kept], distances=self.distances)

    def of_pairs(self, orders: _Places) -> _Floats:
        """Return the distances of the pairs with the languages' names permuted, [kinds, orders, pairs]."""
        one, other = orders[:, self.places[:, 0]], orders[:, self.places[:, 1]]
        return self.distances[:, one, other]


def orders_of(n: int, *, seed: int = 0) -> _Places:
    """Return permutations of n places, [orders, n], the first as they are: all of them, or ``MOST``."""
    if factorial(n) <= MOST:
        return np.array(list(permutations(range(n))), dtype=np.int64)
    rng = np.random.default_rng(seed)
    some = [rng.permutation(n) for _ in range(MOST - 1)]
    return np.array([np.arange(n), *some], dtype=np.int64)


def spearman(values: _Floats, distances: _Floats) -> _Floats:
    """Return the rank correlations of values [pairs] with each row of distances [..., pairs]; ties have mean ranks.

    A row whose distances, or values, are all the same has the correlation nan.
    """
    from scipy.stats import rankdata

    one, other = rankdata(values), rankdata(distances, axis=-1)
    one, other = one - one.mean(), other - other.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: _Floats = (other @ one) / np.sqrt((one @ one) * (other**2).sum(-1))
    return result


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A rank correlation with its jackknife interval and its permutation p, two-sided."""

    rho: Interval
    p: float


def mantel(pairs: Pairs, *, seed: int = 0) -> Correlation | None:
    """Correlate the values with the first kind of distances; None where ranks do not differ or languages are too few.

    The interval is a jackknife over languages on Fisher's scale (each language is left out with all its pairs).
    """
    if pairs.n < LEAST_LANGUAGES or len(pairs.values) < LEAST_LANGUAGES:
        return None
    rhos = spearman(pairs.values, pairs.of_pairs(orders_of(pairs.n, seed=seed))[0])
    if np.isnan(rhos[0]):
        return None
    reached = np.abs(np.nan_to_num(rhos)) >= abs(rhos[0]) - 1e-12
    return Correlation(rho=_jackknife(pairs, float(rhos[0])), p=float(reached.mean()))


def _jackknife(pairs: Pairs, rho: float) -> Interval:
    from scipy.stats import t

    own = np.arange(pairs.n)[None]
    parts = [pairs.without(language) for language in range(pairs.n)]
    left_out = [float(spearman(part.values, part.of_pairs(own)[0])[0]) for part in parts if len(part.values) > 2]
    scaled = np.array([_fisher(value) for value in left_out if not np.isnan(value)])
    k = len(scaled)
    if k < LEAST_LANGUAGES:
        return Interval(rho, -1.0, 1.0)
    error = sqrt((k - 1) / k * float(((scaled - scaled.mean()) ** 2).sum()))
    reach = float(t.ppf(0.975, k - 1)) * error
    return Interval(rho, tanh(_fisher(rho) - reach), tanh(_fisher(rho) + reach))


def _fisher(rho: float) -> float:
    return atanh(max(-_NEARLY_ONE, min(_NEARLY_ONE, rho)))


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A regression of the values on several distances, all standardised.

    Attributes:
        betas: one for each kind of distances, in standard deviations.
        ps: permutation p of each beta's t, two-sided.
        r2: share of the variance that is explained.
        p: permutation p of ``r2``.
    """

    betas: tuple[float, ...]
    ps: tuple[float, ...]
    r2: float
    p: float


def regress(pairs: Pairs, *, seed: int = 0) -> Regression | None:
    """Regress on all kinds of distances together (MRM: Legendre, Lapointe & Casgrain 1994; Lichstein 2007).

    None where the distances determine each other, values do not differ, or there are too few pairs or languages.
    """
    count = len(pairs.distances)
    if pairs.n < LEAST_LANGUAGES or len(pairs.values) < count + 3 or not pairs.values.std():
        return None
    y = (pairs.values - pairs.values.mean()) / pairs.values.std()
    x = pairs.of_pairs(orders_of(pairs.n, seed=seed)).transpose(1, 2, 0)  # [orders, pairs, kinds]
    if np.linalg.matrix_rank(_standard(x[:1])[0], tol=1e-6) < count:
        return None
    betas, ts, r2 = _fit(_standard(x), y)
    with np.errstate(invalid="ignore"):
        ps = (np.abs(ts) >= np.abs(ts[0]) - 1e-9).mean(0)
    return Regression(
        betas=tuple(betas[0].tolist()), ps=tuple(ps.tolist()), r2=float(r2[0]), p=float((r2 >= r2[0] - 1e-12).mean())
    )


def _standard(x: _Floats) -> _Floats:
    deviation = x.std(1, keepdims=True)
    scaled: _Floats = np.divide(x - x.mean(1, keepdims=True), deviation, out=np.zeros_like(x), where=deviation > 1e-12)
    return scaled


def _fit(x: _Floats, y: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Fit y [pairs] by each of x [orders, pairs, kinds]; return betas and t [orders, kinds] and R² [orders]."""
    inverse = np.linalg.pinv(np.einsum("opk,opl->okl", x, x), rcond=1e-9, hermitian=True)
    betas = np.einsum("okl,opl,p->ok", inverse, x, y)
    rest = y - np.einsum("opk,ok->op", x, betas)
    unexplained = (rest**2).sum(1)
    variance = unexplained / (x.shape[1] - x.shape[2] - 1)
    errors = np.sqrt(np.maximum(np.einsum("okk->ok", inverse) * variance[:, None], 1e-300))
    return betas, betas / errors, 1 - unexplained / float(y @ y)


def complete(languages: Sequence[str], known: set[tuple[str, str]]) -> tuple[str, ...]:
    """Return languages that all have a distance to each other: those with the most gaps are left out one by one."""
    left = list(languages)
    while len(left) > 1:
        gaps = {a: sum((a, b) not in known for b in left if b != a) for a in left}
        worst = max(left, key=lambda language: gaps[language])
        if not gaps[worst]:
            break
        left.remove(worst)
    return tuple(left)
