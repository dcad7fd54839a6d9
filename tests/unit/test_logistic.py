"""Logistic regression against odds of tables, against a dense likelihood, and against itself."""

import numpy as np
import pytest
import scipy.optimize

from deadpixel.results.logistic import Decisions

COUNTS = {(0, 0): 30, (0, 1): 10, (1, 0): 12, (1, 1): 28}  # of predictor and right


def table() -> tuple[np.ndarray, np.ndarray]:
    """A predictor (80, 1) of 0 and 1, and which decisions were right."""
    cells = np.repeat([*COUNTS], [*COUNTS.values()], axis=0)
    return cells[:, :1].astype(float), cells[:, 1] > 0


def alone(n: int) -> np.ndarray:
    return np.arange(n)


def simulated(seed: int = 0, n: int = 60, shared: float = 0.0) -> tuple[np.ndarray, ...]:
    """Right, predictors, groups and clusters of n squares in 4 epochs; slopes 0.8 and -0.5.

    shared: standard deviation of what a square has in all epochs and no predictor knows.
    """
    draw = np.random.default_rng(seed)
    square, epoch = np.repeat(np.arange(n), 4), np.tile(np.arange(4), n)
    own = draw.standard_normal((n, 2))
    logits = own @ [0.8, -0.5] + shared * draw.standard_normal(n)
    right = draw.random(4 * n) < 1 / (1 + np.exp(-(logits[square] + 0.4 * epoch - 0.5)))
    return right, own[square], epoch, square


def test_the_slope_of_a_binary_predictor_is_the_logarithm_of_the_odds_ratio():
    predictor, right = table()
    found = Decisions(right, np.zeros(80), alone(80)).fit(predictor)
    assert found.slopes == pytest.approx([np.log((28 / 12) / (10 / 30))])
    assert found.errors == pytest.approx([np.sqrt(1 / 30 + 1 / 10 + 1 / 12 + 1 / 28)])


def test_the_share_explained_is_that_of_the_entropy():
    predictor, right = table()

    def entropy(share: float) -> float:
        return -share * np.log(share) - (1 - share) * np.log(1 - share)

    expected = 1 - (entropy(10 / 40) + entropy(28 / 40)) / 2 / entropy(38 / 80)
    assert Decisions(right, np.zeros(80), alone(80)).fit(predictor).explained == pytest.approx(
        expected
    )


def test_slopes_and_errors_are_those_of_a_dense_likelihood_with_a_column_for_each_group():
    right, predictors, groups, clusters = simulated()
    design = np.hstack([predictors, groups[:, None] == np.arange(4)])

    def deviance(beta: np.ndarray) -> float:
        return 2 * np.logaddexp(0, np.where(right, -1, 1) * (design @ beta)).sum()

    best = scipy.optimize.minimize(deviance, np.zeros(6), options={"gtol": 1e-9})
    found = Decisions(right, groups, clusters).fit(predictors)
    assert found.slopes == pytest.approx(best.x[:2], abs=1e-5)
    shares = np.array([right[groups == group].mean() for group in range(4)])
    null = deviance(np.concatenate([[0, 0], np.log(shares / (1 - shares))]))
    assert found.explained == pytest.approx(1 - best.fun / null)
    chance = 1 / (1 + np.exp(-design @ best.x))
    bread = np.linalg.inv(design.T @ ((chance * (1 - chance))[:, None] * design))
    scores = design * (right - chance)[:, None]
    of_cluster = np.array([scores[clusters == one].sum(0) for one in range(60)])
    covariance = bread @ of_cluster.T @ of_cluster @ bread
    assert found.errors == pytest.approx(np.sqrt(np.diag(covariance))[:2], rel=1e-4)


def test_copies_of_decisions_change_no_error_if_they_are_one_cluster():
    """And make it sqrt(k) smaller if they are taken for others."""
    right, predictors, groups, _ = simulated()
    once = Decisions(right, groups, alone(240)).fit(predictors)
    copied = [np.concatenate([part] * 3) for part in (right, groups, alone(240))]
    thrice = np.concatenate([predictors] * 3)
    as_one = Decisions(*copied).fit(thrice)
    as_many = Decisions(*copied[:2], alone(720)).fit(thrice)
    assert as_one.slopes == pytest.approx(once.slopes)
    assert as_one.errors == pytest.approx(once.errors)
    assert as_many.errors == pytest.approx(once.errors / np.sqrt(3))


def test_slopes_vary_from_sample_to_sample_as_their_errors_say():
    """Squares have something of their own in every epoch, which clusters are for."""
    fits, apart = [], []
    for seed in range(150):
        right, predictors, groups, clusters = simulated(seed, n=150, shared=1.0)
        fits.append(Decisions(right, groups, clusters).fit(predictors))
        apart.append(Decisions(right, groups, alone(600)).fit(predictors).errors)
    spread = np.std([fit.slopes for fit in fits], axis=0)
    said = np.mean([fit.errors for fit in fits], axis=0)
    assert said / spread == pytest.approx([1, 1], abs=0.1)
    assert (np.mean(apart, axis=0) / spread < 0.9).all()


def test_planted_slopes_are_found_within_their_errors():
    fits = []
    for seed in range(40):
        right, predictors, groups, clusters = simulated(seed, n=150)
        fits.append(Decisions(right, groups, clusters).fit(predictors))
    off = [(fit.slopes - [0.8, -0.5]) / fit.errors for fit in fits]
    assert np.abs(np.mean(off, axis=0)) == pytest.approx([0, 0], abs=0.5)
    assert np.std(off, axis=0) == pytest.approx([1, 1], abs=0.3)


def test_a_group_in_which_all_are_right_or_all_wrong_changes_nothing():
    right, predictors, groups, clusters = simulated()
    found = Decisions(right, groups, clusters).fit(predictors)
    for answer in (True, False):
        more = [
            np.concatenate([right, np.full(60, answer)]),
            np.concatenate([groups, np.full(60, 9)]),
            np.concatenate([clusters, np.arange(60)]),
        ]
        decisions = Decisions(*more)
        again = decisions.fit(np.concatenate([predictors, predictors[::4]]))
        assert decisions.kept.sum() == 240
        assert again.slopes == pytest.approx(found.slopes)
        assert again.errors == pytest.approx(found.errors)
        assert again.explained == pytest.approx(found.explained)


def test_large_effects_are_found_too():
    draw = np.random.default_rng(0)
    predictor = draw.standard_normal((4000, 1))
    right = draw.random(4000) < 1 / (1 + np.exp(-12 * predictor[:, 0]))
    found = Decisions(right, np.zeros(4000), alone(4000)).fit(predictor)
    assert abs(found.slopes[0] - 12) < 3 * found.errors[0] < 6


@pytest.mark.parametrize("which", ["separated", "multiples", "constant in groups", "none", "pure"])
def test_without_finite_slopes_there_are_none(which):
    right, predictors, groups, clusters = simulated()
    if which == "separated":
        predictors = np.where(right[:, None], 1.0, 0.0) + np.abs(predictors[:, :1])
        predictors[~right] *= -1
    elif which == "multiples":
        predictors = np.hstack([predictors[:, :1], -2 * predictors[:, :1]])
    elif which == "constant in groups":
        predictors = np.sqrt(groups[:, None] + 0.1)
    elif which == "none":
        predictors = predictors[:, :0]
    else:
        right = groups > 1
    found = Decisions(right, groups, clusters).fit(predictors)
    assert np.isnan([*found.slopes, *found.errors, found.explained]).all()
