"""Exact rank correlations against every order, written out."""

import itertools

import numpy as np
import pytest
import scipy.stats

from deadpixel import stats

TIED = ([427, 971, 427, 1451, 971], [3.0, 1.0, 2.0, 5.0, 4.0])
PLAIN = ([5.0, 1.0, 4.0, 2.0, 3.0, 6.0], [2.0, 1.0, 6.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize("sample", [TIED, PLAIN], ids=["ties", "no ties"])
@pytest.mark.parametrize(
    ("function", "reference"),
    [(stats.kendall, scipy.stats.kendalltau), (stats.spearman, scipy.stats.spearmanr)],
    ids=["kendall", "spearman"],
)
def test_statistic_and_p_value_over_all_orders(function, reference, sample):
    x, y = sample
    found = function(np.array(x), np.array(y))
    values = np.array([reference(x, order).statistic for order in itertools.permutations(y)])
    observed = reference(x, y).statistic
    tail = min((values >= observed - 1e-9).mean(), (values <= observed + 1e-9).mean())
    assert found.statistic == pytest.approx(observed)
    assert found.p_value == pytest.approx(min(1, 2 * tail))
    assert found.exact and found.n == len(x)


def test_kendall_without_ties_is_scipys_exact_test():
    rng = np.random.default_rng(0)
    x, y = rng.random(8), rng.random(8)
    expected = scipy.stats.kendalltau(x, y, method="exact")
    found = stats.kendall(x, y)
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_more_networks_than_can_be_permuted_are_drawn_and_said_to_be():
    x = np.arange(12.0)
    found = stats.spearman(x, x + np.tile([0.0, 1.5], 6))
    assert not found.exact and found.p_value < 0.001
    assert found == stats.spearman(x, x + np.tile([0.0, 1.5], 6))


@pytest.mark.parametrize("function", [stats.kendall, stats.spearman])
def test_infinite_sizes_are_tied_and_largest(function):
    y = np.array([3.0, 1.0, 2.0, 4.0])
    infinite = function(np.array([1.0, np.inf, np.inf, 2.0]), y)
    assert infinite == function(np.array([1.0, 9.0, 9.0, 2.0]), y)


@pytest.mark.parametrize("function", [stats.kendall, stats.spearman])
def test_without_an_order_there_is_no_correlation(function):
    found = function(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0]))
    assert np.isnan(found.statistic) and np.isnan(found.p_value)
    assert np.isnan(function(np.array([1.0]), np.array([2.0])).statistic)
    assert np.isnan(function(np.array([]), np.array([])).statistic)


def test_mean_difference_is_students() -> None:
    before, after = np.array([3.0, 5.0, 4.0, 6.0]), np.array([2.0, 5.5, 2.0, 5.0])
    found = stats.mean_difference(before, after)
    reference = scipy.stats.ttest_rel(after, before).confidence_interval(0.95)
    assert found.mean == pytest.approx(-0.875)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert found.n == 4


def test_a_single_pair_has_no_interval() -> None:
    found = stats.mean_difference(np.array([1.0]), np.array([3.0]))
    assert (found.mean, found.n) == (2.0, 1)
    assert np.isnan([found.low, found.high]).all()


def test_mcnemar_counts_who_changes() -> None:
    """The exact p-value is the binomial's: 2 (1 + 9 + 36) / 2^9 for 2 against 7."""
    before = np.array([True] * 10 + [True] * 2 + [False] * 7 + [False] * 3)
    after = np.array([True] * 10 + [False] * 2 + [True] * 7 + [False] * 3)
    found = stats.mcnemar(before, after)
    assert (found.only_before, found.only_after) == (2, 7)
    assert found.p_value == pytest.approx(2 * (1 + 9 + 36) / 2**9)
    assert stats.mcnemar(before, before) == stats.McNemar(0, 0, 1.0)


def test_logrank_is_the_textbooks() -> None:
    """Observed and expected events written out; two of the first sample never have one."""
    before, after = [3.0, 5.0, np.inf, np.inf, 8.0], [1.0, 2.0, 3.0, 4.0, 6.0]
    observed = expected = variance = 0.0
    for time in sorted({t for t in before + after if np.isfinite(t)}):
        first, both = sum(t >= time for t in before), sum(t >= time for t in before + after)
        events = (before + after).count(time)
        observed += before.count(time)
        expected += events * first / both
        if both > 1:
            share = first / both
            variance += events * share * (1 - share) * (both - events) / (both - 1)
    z = (observed - expected) / np.sqrt(variance)
    assert stats.logrank(before, after, 10) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)))


def test_logrank_without_any_event() -> None:
    assert np.isnan(stats.logrank([np.inf] * 3, [np.inf] * 3, 10))
