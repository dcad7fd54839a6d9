"""All that is measured of one effective receptive field."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import blocks, extent, gaussian, imbalance
from .files.effective import Erf


class Measured(NamedTuple):
    """Fit, imbalance and extent of a map, by the columns of their tables, and its mean tile."""

    fit: dict[str, Any]
    imbalance: dict[str, float]
    extent: dict[str, float]
    tile: np.ndarray


def measure(field: Erf, of_blocks: Sequence[Erf], theory: extent.Theory) -> Measured:
    """What a field says, which is the sum of those `of_blocks`; these give the errors.

    theory: where arithmetic puts it. A signed field has no imbalance but `l1_raw` and `l2_raw`:
    what cancels is no level that differences are relative to.
    """
    means, images = [block.mean for block in of_blocks], [block.count for block in of_blocks]
    without_each = blocks.maps_without_each(means, images)
    uneven = imbalance.measure(means, images)
    if (field.mean < 0).any():
        uneven = {name: uneven[name] for name in ("l1_raw", "l2_raw")}
    return Measured(
        gaussian.fit_or_failure(field.mean, without_each),
        uneven,
        extent.measure(field.mean, without_each, theory),
        imbalance.mean_tile(field.mean, imbalance.tile_period(field.mean.shape)),
    )
