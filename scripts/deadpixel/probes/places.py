"""Strong and weak pixels: places by their phase in the tile that a network's strides repeat."""

from typing import NamedTuple

import numpy as np

from ..data.draws import Purpose, generator
from ..errors import InputError
from ..imbalance import mean_tile, repeated, tile_period

GROUPS = 10
# In files of what was changed there: one colour by a size; or all of them.
DISTURBED, ALL_COLOURS = "disturbed", -1


class Phases(NamedTuple):
    """Pixels of images (H, W) by the sensitivity of their phase.

    tile: the mean tile (period, period). sensitivity: of it there, relative to the pixels around.
    group: 0 of the weakest tenth of the phases, `GROUPS` - 1 of the strongest.
    """

    tile: np.ndarray
    sensitivity: np.ndarray
    group: np.ndarray

    def places(self, *groups: int) -> np.ndarray:
        """Rows and columns (n, 2) of the pixels of some groups, or of all."""
        among = np.isin(self.group, groups) if groups else np.ones_like(self.group, dtype=bool)
        return np.argwhere(among)

    def means(self, field: np.ndarray) -> np.ndarray:
        """Mean (`GROUPS`,) of a map (H, W) over all pixels of each group, relative to the whole."""
        of_groups = [field[self.group == group].mean() for group in range(GROUPS)]
        return np.array(of_groups) / field.mean()

    def drawn(self, each: int, seed: int, image: int) -> np.ndarray:
        """Of each group `each` places (n, 2), or all, drawn for an image by its number."""
        draws = generator(seed, Purpose.PLACES, image)
        of_groups = [self.places(group) for group in range(GROUPS)]
        chosen = [draws.permutation(places)[:each] for places in of_groups]
        return np.concatenate(chosen)


def phases(receptive_field: np.ndarray) -> Phases:
    """By the mean tile of a map R (H, W), which is of other images than those to be probed.

    Groups have as many phases each, to one; of phases that are equal those of the first rows are
    taken for the weaker. Raises `InputError` for a map that has no tile.
    """
    tile = mean_tile(receptive_field, tile_period(receptive_field.shape))
    if not np.isfinite(tile).all():
        raise InputError(
            "the effective field of the logit is zero or negative in places, so that no pixel is "
            "strong or weak: probe another network, or more images"
        )
    ranks = np.empty(tile.size, dtype=int)
    ranks[np.argsort(tile, axis=None, kind="stable")] = np.arange(tile.size)
    group = (ranks * GROUPS // tile.size).reshape(tile.shape)
    shape = receptive_field.shape
    return Phases(tile, repeated(tile, shape), repeated(group, shape))
