"""Logistic regression of decisions in groups, each of which has an intercept of its own.

A group whose decisions are all right, or all wrong, says nothing about slopes: its intercept fits
it perfectly whatever they are. So it is left out, which changes neither slopes nor deviances.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse, special

_MOST_STEPS = 40
_PRECISION = 1e-8  # of slopes
_ROUNDING = 1e-10  # of what a predictor's mean square in groups is, over that of its own


@dataclass(frozen=True)
class Fit:
    """Slopes (p,), log-odds for one unit of each predictor, and how much they explain.

    errors: sandwich standard errors (p,), which take the decisions of a cluster as one (Liang and
    Zeger 1986). explained: share of the deviance of intercepts alone (McFadden 1974). All is NaN
    where there are no finite slopes.
    """

    slopes: np.ndarray
    errors: np.ndarray
    explained: float


class Decisions:
    """Which decisions (n,), bool, were right, the group of each (n,), and its cluster (n,)."""

    def __init__(self, right: np.ndarray, groups: np.ndarray, clusters: np.ndarray) -> None:
        """`kept` (n,) says which are in a group that has right and wrong ones."""
        members = _members(groups)
        share = members.T @ (members @ right / members.sum(1))
        self.kept = (share > 0) & (share < 1)
        self._right = right[self.kept].astype(float)
        self._intercepts = special.logit(share[self.kept])
        self._groups, self._clusters = _members(groups[self.kept]), _members(clusters[self.kept])
        self._null_deviance = self._deviance(self._intercepts)

    def fit(self, predictors: np.ndarray) -> Fit:
        """Of predictors (n, p), by Newton's method; rows of decisions that are left out as well.

        There are no finite slopes where a combination of predictors separates right decisions from
        wrong ones, or is the same in each group.
        """
        values = predictors[self.kept]
        slopes, logits = np.zeros(values.shape[1]), self._intercepts.copy()
        with np.errstate(all="ignore"):
            for _ in range(_MOST_STEPS):
                chance = special.expit(logits)
                residual, weight = self._right - chance, chance * (1 - chance)
                centred = values - self._ratio(weight[:, None] * values, weight)
                curvature = centred.T @ (weight[:, None] * centred)
                if not _invertible(curvature, weight @ values**2):
                    break
                step = np.linalg.solve(curvature, centred.T @ residual)
                slopes += step
                logits += centred @ step + self._ratio(residual, weight)
                if np.abs(step).max() < _PRECISION:
                    scores = self._clusters @ (centred * residual[:, None])
                    half = np.linalg.solve(curvature, scores.T)
                    errors = np.sqrt((half**2).sum(1))
                    return Fit(slopes, errors, 1 - self._deviance(logits) / self._null_deviance)
        nothing = np.full(values.shape[1], np.nan)
        return Fit(nothing, nothing, np.nan)

    def _deviance(self, logits: np.ndarray) -> float:
        """Minus twice the log-likelihood."""
        wrong_side = np.where(self._right > 0, -logits, logits)
        return 2 * float(np.logaddexp(0, wrong_side).sum())

    def _ratio(self, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Sums of values (n,) or (n, p) over those of weight (n,) in the group of each decision."""
        sums = self._groups @ values
        return self._groups.T @ (sums.T / (self._groups @ weight)).T


def _invertible(curvature: np.ndarray, scale: np.ndarray) -> bool:
    """Whether predictors vary in groups, beyond rounding, and not as each other's multiples."""
    return bool(curvature.size and np.linalg.eigvalsh(curvature).min() > _ROUNDING * scale.max())


def _members(labels: np.ndarray) -> sparse.csr_array:
    """Whether each of n labels is each of the different ones: (different ones, n), 0 or 1."""
    different, codes = np.unique(labels, return_inverse=True)
    shape = len(different), len(codes)
    return sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape)
