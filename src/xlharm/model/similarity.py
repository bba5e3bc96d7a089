"""Linear centred kernel alignment (CKA) between two sets of hidden states of the same items."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """The CKA of two representations.

    Attributes:
        value: the CKA.
        without: the CKA without each item, [items]; for jackknife intervals.
    """

    value: float
    without: _Floats


def linear_cka(x: _Floats, y: _Floats) -> Alignment:
    """Return linear CKA, ‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖) with centred columns (Kornblith et al. 2019, 1905.00414).

    1 if one representation is the other rotated and scaled. With fewer items than dimensions it is far above 0 for
    unrelated representations, too: see ``debiased_cka``.

    Args:
        x: [items, width].
        y: [items, width of the other].
    """
    return _cka(x @ x.T, y @ y.T, debiased=False)


def debiased_cka(x: _Floats, y: _Floats) -> Alignment:
    """Return linear CKA with the unbiased estimator of HSIC (Song et al. 2012; Nguyen et al. 2021, 2010.15327).

    Its expectation is 0 for unrelated representations, whatever the number of items (at least 5). It may be below 0.

    Args:
        x: [items, width].
        y: [items, width of the other].
    """
    return _cka(x @ x.T, y @ y.T, debiased=True)


def _cka(k: _Floats, m: _Floats, *, debiased: bool) -> Alignment:
    if debiased:
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    (both, of_items), (one, ones), (two, twos) = (_hsic(a, b, debiased=debiased) for a, b in ((k, m), (k, k), (m, m)))
    return Alignment(float(_ratio(both, one, two)), _ratio(of_items, ones, twos))


def _ratio(both: _Floats, one: _Floats, two: _Floats) -> _Floats:
    """Return HSIC(x, y) / √(HSIC(x, x) HSIC(y, y)); nan where a representation does not vary."""
    product = np.asarray(one * two)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(product > 0, both / np.sqrt(np.maximum(product, 0.0)), np.nan))


def _hsic(k: _Floats, m: _Floats, *, debiased: bool) -> tuple[_Floats, _Floats]:
    """Return HSIC of two Gram matrices [n, n], and HSIC without each item [n]; the biased one times (n - 1)²."""
    n = len(k)
    rows_k, rows_m, products = k.sum(1), m.sum(1), (k * m).sum(1)
    whole = _from_sums(products.sum(), rows_k @ rows_m, rows_k.sum(), rows_m.sum(), n=n, debiased=debiased)
    diagonal_k, diagonal_m = np.diag(k), np.diag(m)
    inner = products.sum() - 2 * products + diagonal_k * diagonal_m
    of_rows = (
        rows_k @ rows_m - k @ rows_m - m @ rows_k + products  # Σᵢ (kᵢ - kᵢⱼ)(mᵢ - mᵢⱼ), with i = j still in it
        - (rows_k - diagonal_k) * (rows_m - diagonal_m)
    )  # fmt: skip
    all_k = rows_k.sum() - 2 * rows_k + diagonal_k
    all_m = rows_m.sum() - 2 * rows_m + diagonal_m
    return whole, _from_sums(inner, of_rows, all_k, all_m, n=n - 1, debiased=debiased)


def _from_sums(inner: _Floats, of_rows: _Floats, all_k: _Floats, all_m: _Floats, *, n: int, debiased: bool) -> _Floats:
    """Return HSIC from Σ kᵢⱼ mᵢⱼ, Σ kᵢ mᵢ (row sums), Σ kᵢⱼ and Σ mᵢⱼ; debiased with Song et al.'s equation 5."""
    if debiased:
        return np.asarray(inner + all_k * all_m / ((n - 1) * (n - 2)) - 2 / (n - 2) * of_rows) / (n * (n - 3))
    return np.asarray(inner - 2 / n * of_rows + all_k * all_m / n**2)
