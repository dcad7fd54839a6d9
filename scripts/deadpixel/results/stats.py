"""Rank correlations with exact p-values, and comparisons of pairs."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special  # scipy.stats takes a second to import

_Sample = Sequence[float] | np.ndarray
_MOST_ORDERS = 400_000  # 9! = 362,880 orders are all looked at; of more
_DRAWN = 9_999  # are drawn
_MOST_SIMULATED = 12  # differences
_SIMULATED = 2_000
_AT_ONCE = 20_000  # orders that are in memory with their features


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
    # two infinite sizes are a tie
    x, y = (pd.Series(sample).rank().to_numpy() for sample in (x, y))
    if min(len(set(x)), len(set(y))) < 2:  # without any order there is no correlation
        return RankCorrelation(math.nan, math.nan, True, len(x))
    own = features(x)
    length = np.sqrt((own**2).sum() * (features(y) ** 2).sum())  # that of every order of y

    def cosine(ranks: np.ndarray) -> np.ndarray:
        return features(ranks) @ own / length

    exact = math.factorial(len(x)) <= _MOST_ORDERS
    orders = _every_order(len(x)) if exact else _drawn_orders(len(x))
    parts = range(_AT_ONCE, len(orders), _AT_ONCE)
    permuted = np.concatenate([cosine(y[part]) for part in np.split(orders, parts)])
    observed = float(cosine(y))
    return RankCorrelation(observed, _both_tails(permuted, observed, exact), exact, len(x))


@functools.cache  # all sizes of a table are of as many networks
def _every_order(n: int) -> np.ndarray:
    """Indices (n!, n), int8."""
    orders = np.zeros((1, 1), np.int8)
    for last in range(1, n):
        places = range(last + 1)
        orders = np.concatenate([np.insert(orders, place, last, axis=1) for place in places])
    return orders


def _drawn_orders(n: int) -> np.ndarray:
    return np.random.default_rng(0).permuted(np.tile(np.arange(n), (_DRAWN, 1)), axis=1)


def _both_tails(permuted: np.ndarray, observed: float, exact: bool) -> float:
    """Twice the smaller tail; the observed order is one more of those that are drawn."""
    rounding, one_more = 1e-12, 0 if exact else 1
    tails = (permuted >= observed - rounding).sum(), (permuted <= observed + rounding).sum()
    return min(1.0, 2 * float(min(tails) + one_more) / (len(permuted) + one_more))


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
    reach = special.stdtrit(n - 1, 0.975) * differences.std(ddof=1) / math.sqrt(n)
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
    tail = special.bdtr(min(only_before, only_after), discordant, 0.5)
    return McNemar(only_before, only_after, min(1.0, 2 * float(tail)))


@dataclass(frozen=True)
class PermutationTest:
    """A two-sided permutation p-value, and the smallest that so many runs can give.

    exact: whether all permutations were looked at; otherwise 9,999 were drawn, and the observed one
    counts as one more (Phipson and Smyth 2010), so that no p-value is zero.
    """

    p_value: float
    smallest: float
    exact: bool


def sign_flip(differences: _Sample) -> PermutationTest:
    """That paired differences (n,) are as likely with the other sign, by their sum (Fisher 1935).

    With n pairs nothing below 2^(1 - n) is possible: 0.25 with three.
    """
    values = np.asarray(differences, float)
    n = len(values)
    exact = 2**n <= _MOST_ORDERS
    if exact:
        flipped = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        flipped = np.random.default_rng(0).integers(0, 2, (_DRAWN, n))
    return _two_sided((1 - 2 * flipped) @ values, values, min(1.0, 2.0 ** (1 - n)), exact)


@functools.cache
def detectable(n: int, level: float, power: float) -> float:
    """The mean of n normal differences that `sign_flip` finds at `level` with this probability.

    In their standard deviations; NaN where no p-value is so small. By simulation, to 2 % of it; of
    more than `_MOST_SIMULATED` by Student's t, which then finds as much.
    """
    if 2.0 ** (1 - n) > level:
        return math.nan
    if n > _MOST_SIMULATED:
        beyond = special.stdtrit(n - 1, 1 - level / 2)
        return float(special.nctdtrinc(n - 1, 1 - power, beyond)) / math.sqrt(n)
    drawn = np.random.default_rng(0).normal(size=(_SIMULATED, n))
    signs = 1 - 2 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)  # the others mirror them
    low, high = 0.0, 10.0
    for _ in range(10):
        mean = (low + high) / 2
        sums = np.abs((drawn + mean) @ signs.T)
        p_values = (sums >= sums[:, :1] * (1 - 1e-12)).mean(1)
        low, high = (low, mean) if (p_values <= level).mean() > power else (mean, high)
    return (low + high) / 2


def logrank_paired(before: _Sample, after: _Sample, last: float) -> PermutationTest:
    """That pairs of waiting times wait equally long; a time above `last` is censored there.

    The statistic is the log-rank test's observed minus expected events (Mantel 1966), a sum over
    runs of event minus cumulated hazard of both samples together. Its distribution is that of all
    swaps within pairs (O'Brien and Fleming 1987). NaN if neither sample has an event.
    """
    waits = np.array([*before, *after], float)
    if not (waits <= last).any():
        return PermutationTest(math.nan, math.nan, True)
    scores = _logrank_scores(waits, last)
    return sign_flip(scores[: len(before)] - scores[len(before) :])


def _logrank_scores(waits: np.ndarray, last: float) -> np.ndarray:
    """Event minus cumulated hazard (Nelson-Aalen) of each run (n,): their sum is zero."""
    times, counts = np.unique(waits[waits <= last], return_counts=True)
    at_risk = (waits[:, None] >= times).sum(0)
    hazard = (waits[:, None] >= times) @ (counts / at_risk)
    return (waits <= last) - hazard


def _two_sided(
    permuted: np.ndarray, observed: np.ndarray, smallest: float, exact: bool
) -> PermutationTest:
    rounding = 1e-9 * np.abs(observed).sum()
    extreme = np.abs(permuted) >= abs(observed.sum()) - rounding
    if exact:
        return PermutationTest(float(extreme.mean()), smallest, exact)
    drawn = len(extreme) + 1
    return PermutationTest(float(extreme.sum() + 1) / drawn, max(smallest, 1 / drawn), exact)
