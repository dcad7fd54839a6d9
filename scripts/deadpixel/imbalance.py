"""Pixel sensitivity imbalance: how uneven a receptive field is from pixel to pixel."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Imbalance:
    """First- and second-order imbalance of a map (Kim et al. 2023, Eqs. 4 and 5).

    l1 and l2 are of the map divided by its mean, so that networks whose gradients differ in size
    can be compared; NaN where the mean is zero. l1_raw and l2_raw are of the map itself.
    """

    l1: float
    l2: float
    l1_raw: float
    l2_raw: float


def indices(receptive_field: np.ndarray) -> Imbalance:
    """Mean absolute first and second differences of a map (H, W), averaged over both axes."""
    field = np.asarray(receptive_field, dtype=np.float64)
    l1, l2 = _mean_difference(field, 1), _mean_difference(field, 2)
    mean = float(field.mean())
    scale = 1 / mean if mean else np.nan
    return Imbalance(l1 * scale, l2 * scale, l1, l2)


def _mean_difference(field: np.ndarray, order: int) -> float:
    return float(np.mean([np.abs(np.diff(field, order, axis)).mean() for axis in (0, 1)]))


def mean_tile(receptive_field: np.ndarray, period: int) -> np.ndarray:
    """Sensitivity (period, period) by place in a tile, relative to the pixels around: mean about 1.

    Averaged over the tiles of a map (H, W), against its own moving average over one period, so that
    neither the bell shape of the field nor sampling noise hides what strides repeat. Raises
    `ValueError` if the map is smaller than a tile.
    """
    field = np.asarray(receptive_field, dtype=np.float64)
    rows, columns = (length // period for length in field.shape)
    if not rows or not columns:
        raise ValueError(f"a map of {field.shape} has no tile of {period} pixels")
    around = ndimage.uniform_filter(field, period, mode="nearest")
    sums = [
        part[: rows * period, : columns * period]
        .reshape(rows, period, columns, period)
        .sum(axis=(0, 2))
        for part in (field, around)
    ]
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing around is sensitive: NaN
        return sums[0] / sums[1]


def standard_errors(means: Sequence[np.ndarray], counts: Sequence[int]) -> Imbalance:
    """Jackknife standard errors of `indices` over blocks of images, NaN for fewer than two.

    means and counts: each block's map (H, W) and number of images. Blocks are the unit, because
    the pixels of one image's gradient are not independent. See Efron and Stein, "The jackknife
    estimate of variance", Annals of Statistics 9, 1981.
    """
    if len(means) < 2:
        return Imbalance(*[np.nan] * 4)
    totals = [mean * count for mean, count in zip(means, counts, strict=True)]
    total, count = sum(totals), sum(counts)
    without = [indices((total - t) / (count - n)) for t, n in zip(totals, counts, strict=True)]
    values = np.array([astuple(value) for value in without])
    scale = (len(means) - 1) / len(means)
    return Imbalance(*np.sqrt(scale * ((values - values.mean(0)) ** 2).sum(0)).tolist())
