"""Pixel sensitivity imbalance: how uneven a receptive field is from pixel to pixel.

The paper's indices are raised by sampling noise, and the fewer images, the more. So each has beside
it the value that noise alone would give, and a companion that noise does not raise.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .blocks import counts_without_each, standard_error

PERIOD = 32  # px, the product of a ResNet's strides
CLEAR = 4  # ``_unbiased_se`` above zero, which is two standard errors of the mean square
_MOST_SPLITS = 126  # into halves: all of up to ten blocks; of more, so many are drawn


@dataclass(frozen=True)
class Imbalance:
    """First- and second-order imbalance of a map (Kim et al. 2023, Eqs. 4 and 5).

    l1 and l2 are of the map divided by its mean, so that networks whose gradients differ in size
    can be compared; NaN where the mean is not positive. l1_raw and l2_raw are of the map itself.
    """

    l1: float
    l2: float
    l1_raw: float
    l2_raw: float


def indices(receptive_field: np.ndarray) -> Imbalance:
    """Mean absolute first and second differences of a map (H, W), averaged over both axes."""
    field = np.asarray(receptive_field, dtype=np.float64)
    l1, l2 = (float(_mean_absolute(_differences(field, order))) for order in (1, 2))
    mean = float(field.mean())
    scale = 1 / mean if mean > 0 else np.nan
    return Imbalance(l1 * scale, l2 * scale, l1, l2)


def _differences(maps: np.ndarray, order: int) -> list[np.ndarray]:
    """Of maps (..., H, W), along rows and along columns (..., pixels)."""
    return [np.diff(maps, order, axis).reshape(*maps.shape[:-2], -1) for axis in (-2, -1)]


def _mean_absolute(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean([np.abs(part).mean(-1) for part in parts], axis=0)


def _root_mean_square(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.sqrt(np.mean([(part**2).mean(-1) for part in parts], axis=0))


def tile_period(shape: Sequence[int]) -> int:
    """Side of the tiles of a map (H, W): `PERIOD`, or the map's smaller side."""
    return min(PERIOD, *shape)


def mean_tile(receptive_field: np.ndarray, period: int) -> np.ndarray:
    """Sensitivity (period, period) by place in a tile, relative to the pixels around: mean about 1.

    Averaged over the tiles of a map (H, W), against its own moving average over one period, so that
    neither the bell shape of the field nor sampling noise hides what strides repeat. NaN where no
    pixel around is sensitive, and of a map with negative values, which cancel. Raises `ValueError`
    if the map is smaller than a tile.
    """
    field = np.asarray(receptive_field, dtype=np.float64)
    tile, around = _tile_sums(field, period)
    return tile / (_positive(around) if (field >= 0).all() else np.nan)


def tile_contrast(tile: np.ndarray) -> float:
    """Root mean square deviation of a `mean_tile` from 1."""
    return float(np.sqrt(np.mean((tile - 1) ** 2)))


def repeated(tile: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A tile (period, period) over a map of `shape` (H, W), from its first pixel on."""
    rows, columns = (np.arange(length) % len(tile) for length in shape)
    return tile[np.ix_(rows, columns)]


def _tile_sums(maps: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums over tiles (..., period, period) of maps (..., H, W), and of their moving averages."""
    rows, columns = (length // period for length in maps.shape[-2:])
    if not rows or not columns:
        raise ValueError(f"a map of {maps.shape[-2:]} has no tile of {period} pixels")
    around = ndimage.uniform_filter(maps, period, mode="nearest", axes=(-2, -1))
    return tuple(
        part[..., : rows * period, : columns * period]
        .reshape(*maps.shape[:-2], rows, period, columns, period)
        .sum(axis=(-4, -2))
        for part in (maps, around)
    )


def _pixels(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(len(maps), -1)


def _levels(maps: np.ndarray) -> np.ndarray:
    return maps.mean((-2, -1))


def _tile_deviations(maps: np.ndarray, images: np.ndarray) -> list[np.ndarray]:
    """Of tiles from the pixels around, relative to those of the mean over all blocks."""
    mean = float(_positive(images @ _levels(maps) / images.sum()))
    tiles, around = _tile_sums(maps, tile_period(maps.shape[-2:]))
    relative = _positive(np.tensordot(images / images.sum() / mean, around, 1))
    return [_pixels((tiles - around) / relative)]


@dataclass(frozen=True)
class Metric:
    """An index of a map: what it is the average of, and how tables and figures show it.

    parts: of the maps (B, H, W) of blocks and their numbers of images (B,), what is averaged, some
    (B, P) that are linear in the maps. scale: of the maps, what the mean square of the parts is
    relative to (B, P). in_paper: the paper has it, so it is also measured of the map itself, not
    divided by its mean.
    """

    header: str
    average: Callable[[Sequence[np.ndarray]], np.ndarray]
    parts: Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]
    scale: Callable[[np.ndarray], np.ndarray]
    in_paper: bool
    decimals: int = 3


METRICS = {
    "l1": Metric("L1", _mean_absolute, lambda maps, _: _differences(maps, 1), _pixels, True),
    "l2": Metric("L2", _mean_absolute, lambda maps, _: _differences(maps, 2), _pixels, True),
    "contrast": Metric(
        "contrast",
        _root_mean_square,
        _tile_deviations,
        lambda maps: _levels(maps)[:, None],
        in_paper=False,
    ),
}


def columns() -> list[str]:
    """Names of all that `measure` finds, in the order in which files have them."""
    paper, others = (
        [name for name, metric in METRICS.items() if metric.in_paper is of] for of in (True, False)
    )
    noise = ("_floor", "_unbiased", "_unbiased_se")
    return [
        *(f"{name}{of}" for of in ("", "_raw", "_se") for name in paper),
        *(f"{name}{of}" for name in paper for of in noise),
        *(f"{name}{of}" for name in others for of in ("", "_se", *noise)),
    ]


def measure(means: Sequence[np.ndarray], counts: Sequence[int]) -> dict[str, float]:
    """Each of `METRICS` of the map over all blocks, and what the blocks say about its noise.

    means and counts: each block's map (H, W) and number of images. Blocks are the unit, because the
    pixels of one image's gradient are not independent. Keys are the `columns`: those of `indices`,
    and contrast, the root mean square of `mean_tile` - 1 (tiles of `tile_period`). Of l1, l2 and
    contrast, all free of scale:

    - ``_se``: jackknife standard error. It does not show that noise raises the index.
    - ``_floor``: the index of noise alone: of half the difference of two halves of the blocks,
      weighted so that its variance is the whole map's, relative to the mean of the whole map. The
      mean over all ways to halve up to ten blocks; of more, over 126 drawn ones.
    - ``_unbiased``: root mean square of the same differences, where each square is the mean product
      of two disjoint blocks, over all pairs. Noise, which blocks do not share, adds nothing to it;
      by chance the mean square can be negative, and its root then has its sign. Of l1 and l2 it is
      relative to the root mean square of the map over the same pairs, which makes it free of the
      field's width as well. Under any wide bell, a checkerboard 1 +- a has l1 2 a and l1_unbiased
      2 a / sqrt(1 + a^2), l2 and l2_unbiased twice as much, contrast and contrast_unbiased a. Where
      differences vary in size beyond the bell, a root mean square is above a mean absolute value:
      by sqrt(pi / 2) if they are normal.
    - ``_unbiased_se``: half the distance of the roots one standard error of the mean square above
      and below it; far from zero that is the delta method. A root's relative error is half its
      square's: four of these errors above zero are two of the square's.

    NaN where the mean is not positive, and with too few blocks: one, or fewer than four for
    ``_unbiased_se``.
    """
    maps, images = np.asarray(means, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    whole = np.tensordot(images / images.sum(), maps, 1)
    found = {}
    for name, metric in METRICS.items():
        parts, scale = metric.parts(maps, images), metric.scale(maps)
        blocks = _Blocks(metric.average, parts, scale, _levels(maps), images)
        square, error = blocks.mean_square()
        low, root, high = (_signed_root(square + shift) for shift in (-error, 0, error))
        found |= {
            name: float(blocks.index(images)),
            f"{name}_se": blocks.standard_error(),
            f"{name}_floor": blocks.floor(),
            f"{name}_unbiased": root,
            f"{name}_unbiased_se": (high - low) / 2,
        }
        if metric.in_paper:
            found[f"{name}_raw"] = float(metric.average(metric.parts(whole, images)))
    return found


def _signed_root(square: float) -> float:
    return float(np.sign(square) * np.sqrt(abs(square)))


@dataclass(frozen=True)
class _Blocks:
    """What one index is the `average` of, linear in the maps: `parts` (B, P) of every block.

    scale: what their mean square is relative to (B, P). means and images: of each block (B,), the
    mean of its map and its number of images.
    """

    average: Callable[[Sequence[np.ndarray]], np.ndarray]
    parts: Sequence[np.ndarray]
    scale: np.ndarray
    means: np.ndarray
    images: np.ndarray

    def index(self, weights: np.ndarray) -> np.ndarray:
        """Of the maps over so many images of each block (..., B), relative to their means."""
        return self.average([weights @ part for part in self.parts]) / _positive(
            weights @ self.means
        )

    def standard_error(self) -> float:
        """Jackknife of `index`."""
        return standard_error(self.index(counts_without_each(self.images)))

    def floor(self) -> float:
        """The mean over splits of the index of half the difference of two halves."""
        if len(self.images) < 2:
            return np.nan
        noise = [
            self.average([weights @ part for part in self.parts])
            for weights in self.images * _contrasts(self.images)
        ]
        return float(np.mean(noise) / _positive(self.images @ self.means))

    def mean_square(self) -> tuple[float, float]:
        """Mean product of pairs of blocks, relative to that of `scale`; its standard error."""
        pairs = np.outer(self.images, self.images) * (1 - np.eye(len(self.images)))
        products = pairs * np.mean([_mean_products(part) for part in self.parts], axis=0)
        scales = pairs * _mean_products(self.scale)
        if not scales.sum() > 0:
            return np.nan, np.nan
        square = products.sum() / scales.sum()
        return square, _pair_error((products - square * scales) / scales.sum())


def _mean_products(blocks: np.ndarray) -> np.ndarray:
    """Of each two (B, B) of blocks (B, P)."""
    return blocks @ blocks.T / blocks.shape[1]


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def _contrasts(images: np.ndarray) -> np.ndarray:
    """Weights (splits, B) of halves' differences that have the mean's variance and no signal."""
    number = len(images)
    if math.comb(number, number // 2) <= 2 * _MOST_SPLITS:
        either = range(1 - number % 2, number)  # of an even number, a half stands for the other too
        halves = [*itertools.combinations(either, number // 2)]
    else:
        draw = np.random.default_rng(0)
        halves = [draw.permutation(number)[: number // 2] for _ in range(_MOST_SPLITS)]
    first = np.zeros((len(halves), number), dtype=bool)
    np.put_along_axis(first, np.array(halves), True, axis=1)
    ratio = np.sqrt((~first @ images) / (first @ images))[:, None]
    return np.where(first, ratio, -1 / ratio)


def _pair_error(residuals: np.ndarray) -> float:
    """Standard error of the sum of a symmetric matrix (B, B) of pairs of blocks, whose sum is zero.

    Effects of single blocks and of pairs are kept apart, because the jackknife counts the latter
    twice (Efron and Stein 1981): without a signal, there are no others.
    """
    number = len(residuals)
    if number < 4:
        return np.nan
    effects = residuals.sum(1) / (number - 2)
    rest = np.triu(residuals - effects[:, None] - effects, 1)
    of_pair = (rest**2).sum() / (number * (number - 3) / 2)
    of_block = max((effects**2).sum() / (number - 1) - of_pair / (number - 2), 0)
    variance = 4 * of_block / number + 2 * of_pair / (number * (number - 1))
    return number * (number - 1) * float(np.sqrt(variance))
