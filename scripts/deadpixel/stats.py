"""Rank correlations with exact p-values, and comparisons of pairs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    return _permuted(_pair_signs, x, y)


def spearman(x: np.ndarray, y: np.ndarray) -> RankCorrelation:
    """Spearman's rho of two samples (n,): Pearson's correlation of mid-ranks."""
    return _permuted(_centred, x, y)


def _pair_signs(ranks: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(ranks.shape[-1], 1)
    return np.sign(ranks[..., first] - ranks[..., second])


def _centred(ranks: np.ndarray) -> np.ndarray:
    return ranks - ranks.mean(-1, keepdims=True)


def _permuted(
    features: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray
) -> RankCorrelation:
    """Cosine of the `features` of both samples' ranks, against that of every order of y."""
    x, y = stats.rankdata(x), stats.rankdata(y)  # two infinite sizes are a tie
    if min(len(set(x)), len(set(y))) < 2:  # without any order there is no correlation
        return RankCorrelation(math.nan, math.nan, True, len(x))
    own = features(x)

    def cosine(orders: np.ndarray, axis: int = -1) -> np.ndarray:
        other = features(np.moveaxis(orders, axis, -1))
        return (own * other).sum(-1) / np.sqrt((own**2).sum() * (other**2).sum(-1))

    exact = math.factorial(len(x)) <= _MOST_ORDERS
    result = stats.permutation_test(
        (y,),
        cosine,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=np.inf if exact else 9_999,
        batch=20_000,
        rng=np.random.default_rng(0),
    )
    return RankCorrelation(float(cosine(y)), float(result.pvalue), exact, len(x))


@dataclass(frozen=True)
class MeanDifference:
    """Mean of paired differences and its 95 % interval from Student's t; NaN for a single pair."""

    mean: float
    low: float
    high: float
    n: int


def mean_difference(before: np.ndarray, after: np.ndarray) -> MeanDifference:
    """Of after - before, paired samples (n,); n is at least one."""
    differences = np.asarray(after, float) - np.asarray(before, float)
    mean, n = float(differences.mean()), len(differences)
    if n < 2:
        return MeanDifference(mean, math.nan, math.nan, n)
    reach = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / math.sqrt(n)
    return MeanDifference(mean, float(mean - reach), float(mean + reach), n)


@dataclass(frozen=True)
class McNemar:
    """Images that only one of two classifiers gets right, and the exact two-sided p-value."""

    only_before: int
    only_after: int
    p_value: float


def mcnemar(before: np.ndarray, after: np.ndarray) -> McNemar:
    """Which images (n,), bool, were right before and after: McNemar 1947, exact binomial."""
    only_before, only_after = int((before & ~after).sum()), int((after & ~before).sum())
    discordant = only_before + only_after
    p_value = stats.binomtest(only_before, discordant).pvalue if discordant else 1.0
    return McNemar(only_before, only_after, float(p_value))


def logrank(before: Sequence[float], after: Sequence[float], last: float) -> float:
    """Two-sided p-value that two samples wait equally long (Mantel 1966); inf: not until `last`.

    NaN if neither has an event.
    """
    samples = [np.asarray(sample, float) for sample in (before, after)]
    if all(np.isinf(sample).all() for sample in samples):
        return math.nan
    censored = [
        stats.CensoredData.right_censored(np.minimum(sample, last), np.isinf(sample))
        for sample in samples
    ]
    return float(stats.logrank(*censored).pvalue)
