"""The jackknife over blocks of images: errors that take no two pixels for independent.

Each block of images is left out in turn, and what is measured is measured again (Efron and Stein,
Annals of Statistics 9, 1981). It shows how images vary, not that noise raises a measure.
"""

from collections.abc import Sequence

import numpy as np


def counts_without_each(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Numbers of images (B, B) of blocks of `counts` (B,) images, in each row without one block."""
    return np.asarray(counts, dtype=np.float64) * (1 - np.eye(len(counts)))


def maps_without_each(
    means: Sequence[np.ndarray] | np.ndarray, counts: Sequence[int] | np.ndarray
) -> np.ndarray:
    """The map over all blocks but one (B, H, W), for each of them; none (0, H, W) of one block.

    means and counts: each block's map (H, W) and number of images.
    """
    maps = np.asarray(means, dtype=np.float64)
    if len(maps) < 2:
        return maps[:0]
    images = counts_without_each(counts)
    return np.tensordot(images / images.sum(1, keepdims=True), maps, 1)


def standard_error(estimates: Sequence[float] | np.ndarray) -> float:
    """Of what was measured over all blocks, from `estimates` (B,) without each of them.

    NaN of fewer than two blocks, and where one of the estimates is NaN.
    """
    number = len(estimates)
    return float(np.sqrt((number - 1) * np.var(estimates))) if number > 1 else np.nan
