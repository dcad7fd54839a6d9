"""Rank correlations with exact p-values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

_MOST_ORDERS = 400_000  # 9! = 362,880 orders are all looked at; of more, so many are drawn


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation and its two-sided permutation p-value.

    exact: whether all n! orders were looked at; otherwise 9,999 were drawn.
    """

    statistic: float
    p_value: float
    exact: bool
    n: int


def kendall(x: np.ndarray, y: np.ndarray) -> RankCorrelation:
    """Kendall's tau-b of two samples (n,): ties count as neither order (Kendall 1945)."""
    return _permuted(partial(_cosine, _pair_signs(np.asarray(x)), transform=_pair_signs), x, y)


def spearman(x: np.ndarray, y: np.ndarray) -> RankCorrelation:
    """Spearman's rho of two samples (n,): Pearson's correlation of mid-ranks."""
    return _permuted(partial(_cosine, _centred_ranks(x), transform=_centred_ranks), x, y)


def _pair_signs(values: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(values.shape[-1], 1)
    return np.sign(values[..., first] - values[..., second])


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    ranks = stats.rankdata(values, axis=-1)
    return ranks - ranks.mean(-1, keepdims=True)


def _cosine(
    a: np.ndarray, y: np.ndarray, *, transform: Callable[[np.ndarray], np.ndarray], axis: int = -1
) -> np.ndarray:
    b = transform(np.moveaxis(y, axis, -1))
    with np.errstate(invalid="ignore"):  # a sample without any order has no correlation
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def _permuted(statistic: partial, x: np.ndarray, y: np.ndarray) -> RankCorrelation:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = len(x)
    value = float(statistic(y))
    if not math.isfinite(value):
        return RankCorrelation(math.nan, math.nan, True, n)
    exact = math.factorial(n) <= _MOST_ORDERS
    result = stats.permutation_test(
        (y,),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=np.inf if exact else 9_999,
        batch=20_000,
        rng=np.random.default_rng(0),
    )
    return RankCorrelation(value, float(result.pvalue), exact, n)
