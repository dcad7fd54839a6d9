"""Exact rank correlations against every order, written out."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from deadpixel.results import stats

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
    assert not found.exact and found.p_value == 2 / 10_000  # the order itself and 9,999 others
    loose = x + 40 * np.sin(x)
    assert stats.spearman(x, loose) == stats.spearman(x, loose)
    assert 0.01 < stats.spearman(x, loose).p_value < 1


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


def _observed_minus_expected(before: list[float], after: list[float], last: float) -> float:
    """Of the log-rank test, as textbooks write it: one risk set after the other."""
    both = before + after
    found = 0.0
    for time in {t for t in both if t <= last}:
        at_risk = sum(t >= time for t in both)
        found += before.count(time) - both.count(time) * sum(t >= time for t in before) / at_risk
    return found


def _share_as_extreme(values: list[float], observed: float) -> float:
    return float(np.mean([abs(value) >= abs(observed) - 1e-9 for value in values]))


WAITS = [
    ([6, 5, 4], [3, 2, 3], 8),
    ([np.inf, 5, 4], [4, 2, 4], 7),
    ([5, 5, 5], [4, 3, 3], 6),
    ([np.inf, 7, np.inf, 6, 7], [7, 7, 3, 2, np.inf], 7),  # events in the last epoch
    ([9, 2, 8, 3, 1], [1, 9, 4, 12, 2], 8),  # two events come after the last epoch looked at
]


@pytest.mark.parametrize(("before", "after", "last"), WAITS)
def test_logrank_against_every_swap_written_out(before, after, last) -> None:
    values = [
        _observed_minus_expected(
            [(b, a)[swap] for b, a, swap in zip(before, after, swaps, strict=True)],
            [(a, b)[swap] for b, a, swap in zip(before, after, swaps, strict=True)],
            last,
        )
        for swaps in itertools.product((False, True), repeat=len(before))
    ]
    found = stats.logrank_paired(before, after, last)
    observed = _observed_minus_expected(before, after, last)
    assert found.p_value == pytest.approx(_share_as_extreme(values, observed))
    assert found.smallest == 2 / 2 ** len(before) and found.exact


def test_three_runs_of_each_cannot_show_more_than_chance_allows() -> None:
    """The demo's waiting times, for which the asymptotic test printed 0.03, 0.10 and 0.02."""
    assert [stats.logrank_paired(*waits).p_value for waits in WAITS[:3]] == [0.25, 0.5, 0.25]


def test_a_run_that_gets_there_in_the_last_epoch_did_get_there() -> None:
    got_there = stats.logrank_paired([7] * 5, [np.inf] * 5, 7)
    assert got_there == stats.PermutationTest(2 / 2**5, 2 / 2**5, True)
    assert np.isnan(stats.logrank_paired([8] * 5, [np.inf] * 5, 7).p_value)


def test_logrank_without_any_event() -> None:
    found = stats.logrank_paired([np.inf] * 3, [np.inf] * 3, 10)
    assert np.isnan([found.p_value, found.smallest]).all()


def test_many_runs_are_drawn_and_said_to_be() -> None:
    """The normal limit of the sum is the reference; the same call gives the same number."""
    rng = np.random.default_rng(0)
    before = rng.integers(1, 30, 40)
    after = before - rng.integers(-5, 7, 40)
    found = stats.logrank_paired(before, after, 40)
    assert not found.exact and found.smallest == 1 / 10_000
    assert found == stats.logrank_paired(before, after, 40)
    difference = rng.normal(0.3, 1, 50)
    z = difference.sum() / np.sqrt((difference**2).sum())
    found = stats.sign_flip(difference)
    assert found.p_value == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), abs=0.01)
    assert stats.sign_flip([1.0] * 30) == stats.PermutationTest(1e-4, 1e-4, False)
    clear = stats.logrank_paired([*range(1, 31)], [*range(31, 61)], 60)
    assert clear == stats.PermutationTest(1e-4, 1e-4, False)


def test_what_few_sign_flips_detect_is_that_all_have_one_sign() -> None:
    """8 pairs at 1 %: no other outcome is below it, so that the chance is one of 8 signs."""
    found = stats.detectable(8, 0.01, 0.8)
    assert found == pytest.approx(scipy.stats.norm.ppf(0.8 ** (1 / 8)), abs=0.04)
    assert math.isnan(stats.detectable(7, 0.01, 0.8))
    assert stats.detectable(8, 0.01, 0.9) > found > stats.detectable(8, 0.05, 0.8)


@pytest.mark.parametrize("n", [11, 13])
def test_what_sign_flips_detect_they_find_so_often(n) -> None:
    mean = stats.detectable(n, 0.02, 0.7)
    drawn = np.random.default_rng(1).normal(mean, 1, (1500, n))
    found = [stats.sign_flip(differences).p_value <= 0.02 for differences in drawn]
    assert np.mean(found) == pytest.approx(0.7, abs=0.05)


def test_sign_flip_is_scipys_permutation_of_pairs() -> None:
    for n in (2, 3, 6):
        values = np.random.default_rng(n).normal(0.5, 1, n)
        reference = scipy.stats.permutation_test(
            (values, np.zeros(n)), lambda x, y: (x - y).sum(), permutation_type="samples"
        )
        found = stats.sign_flip(values)
        assert found.p_value == pytest.approx(reference.pvalue)
        assert found.smallest == 2 / 2**n and found.exact
    assert stats.sign_flip([2.0]) == stats.PermutationTest(1.0, 1.0, True)
    assert stats.sign_flip([0.1, 0.2, -0.3]).p_value == 1  # 0.1 + 0.2 is not quite 0.3
    assert stats.sign_flip([0.3, -0.2, -0.1, 0.5]).p_value == 10 / 16


def test_scores_are_events_less_the_hazard_that_a_run_has_lived_through() -> None:
    """One of four at 1, then one of three at 3; a run that is censored there has no event."""
    scores = stats._logrank_scores(np.array([1, 3, np.inf, 4]), 3)
    assert scores == pytest.approx([1 - 1 / 4, 1 - 7 / 12, -7 / 12, -7 / 12])
