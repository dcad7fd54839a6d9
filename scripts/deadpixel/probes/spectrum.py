"""The spectrum of a logit over shifts: strides would show as peaks at their periods.

A network whose strides multiply to s and that pools its last map sees the image on a grid of s px:
as far as the border lets it, a move by s px changes nothing, and by less something (Azulay and
Weiss, JMLR 2019). The mean spectrum over images is ``power(curves(rows, axis)).mean(0)``.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def curves(rows: pd.DataFrame, axis: str) -> np.ndarray:
    """Logits (N, 2 reach) of each image at offsets -reach, ..., reach - 1, from rows of `moved`.

    The last whole pixel is left out: then strides that divide 2 reach have whole periods.
    """
    whole = rows[(rows["axis"] == axis) & (rows["offset"] % 1 == 0)]
    return whole.pivot_table("logit", "image", "offset").to_numpy()[:, :-1]


def frequencies(length: int) -> np.ndarray:
    """Of `power`, in cycles per px: 1 / length, 2 / length, ..., at most 1 / 2."""
    return np.fft.rfftfreq(length)[1:]


def power(signals: np.ndarray) -> np.ndarray:
    """Periodograms (..., n // 2) of signals (..., n), less their mean and linear trend.

    Both signs of a frequency together, so that the sum is the variance (ddof = 0) around the
    trend, a line of least squares. No window: it would spread a peak over the next frequencies,
    which belong to other strides.
    """
    length = signals.shape[-1]
    basis, _ = np.linalg.qr(np.vander(np.arange(length), 2))
    left = signals - signals @ basis @ basis.T
    both = np.where(np.arange(1, length // 2 + 1) * 2 == length, 1, 2)
    return both * np.abs(np.fft.rfft(left)[..., 1:] / length) ** 2


def white(length: int) -> np.ndarray:
    """Expected `power` (n // 2,) of white noise of variance 1, which the trend takes a part of.

    The sum of those of single impulses, because `power` is of a linear map of the signal.
    """
    return power(np.eye(length)).sum(0)


def shares(
    of_frequencies: np.ndarray, length: int, strides: Sequence[int]
) -> dict[int, np.ndarray]:
    """Shares (...) of `power` (..., n // 2) of signals of `length` px, by stride.

    A stride has the harmonics of 1 / stride that are of no smaller one of `strides`; those that do
    not divide the length have none, and are left out. NaN where there is no power at all.
    """
    numbers = np.arange(1, length // 2 + 1)
    left = np.ones(len(numbers), dtype=bool)
    total = of_frequencies.sum(-1)
    found = {}
    for stride in sorted(stride for stride in strides if length % stride == 0):
        own = left & (numbers * stride % length == 0)
        left &= ~own
        found[stride] = np.divide(
            of_frequencies[..., own].sum(-1), total, np.full(total.shape, np.nan), where=total > 0
        )
    return found
