"""How many images are enough: what is measured of a map after ever more of its blocks of images.

Errors are those of the jackknife over the blocks so far (`blocks`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from . import gaussian, imbalance
from .blocks import maps_without_each, standard_error
from .files.effective import Erf, joined
from .gaussian import GaussianFit
from .precision import ERRORS, FITTED, INDICES, LEAST_BLOCKS, is_precise

MOST_STEPS = 10  # each takes as many fits as it has blocks


def course(of_blocks: Sequence[Erf]) -> list[dict[str, float]]:
    """What is measured of a map after 1, 2, ... all of its blocks: a row each.

    n_blocks, n_images, the names of `ERRORS` and the errors of each, as `gaussian` and `imbalance`
    find them. Of more than `MOST_STEPS` blocks, rows are of so many numbers of them, evenly spread.
    Fits start at that of the whole map. NaN where there is none, and of one block, whose errors
    nobody knows; a field with negative values has no indices.
    """
    number = len(of_blocks)
    steps = np.linspace(1, number, min(number, MOST_STEPS)).round().astype(int)
    start = _fit(of_blocks)
    return [_measured(of_blocks[:step], start) for step in steps]


def enough(blocks: Sequence[Mapping[str, Erf]], share: float) -> bool:
    """Whether the map of each target over these blocks `is_precise`.

    blocks: each its fields by target.
    """
    if len(blocks) < LEAST_BLOCKS:
        return False
    of_targets = ([block[target] for block in blocks] for target in blocks[0])
    return all(is_precise(_measured(parts, _fit(parts)), share) for parts in of_targets)


def _fit(of_blocks: Sequence[Erf]) -> GaussianFit | None:
    try:
        return gaussian.fit(joined(of_blocks).mean)
    except gaussian.FitError:
        return None


def _measured(of_blocks: Sequence[Erf], start: GaussianFit | None) -> dict[str, float]:
    field = joined(of_blocks)
    means, images = [block.mean for block in of_blocks], [block.count for block in of_blocks]
    without_each = maps_without_each(means, images)
    found = {"n_blocks": len(of_blocks), "n_images": field.count}
    found |= dict.fromkeys([*ERRORS, *ERRORS.values()], np.nan)
    fitted = start and gaussian.fit_from(start, field.mean)
    if fitted and fitted.r_squared > 0:
        errors = gaussian.jackknife_errors(fitted, without_each)
        for name in FITTED:
            found |= {name: getattr(fitted, name), ERRORS[name]: errors[ERRORS[name]]}
    if (field.mean >= 0).all():
        whole, *others = (imbalance.indices(mean) for mean in (field.mean, *without_each))
        for name in INDICES:
            found[name] = getattr(whole, name)
            found[ERRORS[name]] = standard_error([getattr(other, name) for other in others])
    return found
