"""How far a receptive field reaches, whatever its shape.

A Gaussian's widths say nothing of a field that is no bell. These say how much area holds how much
of it, where it lies, and how much of the image it does not see. Formulas: docs/extent.md.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .blocks import standard_error
from .imbalance import mean_tile, tile_contrast

_PRECISION = 1e-6  # px, of radii and sides


@dataclass(frozen=True)
class Theory:
    """What arithmetic says of a field: its `center` (y, x) and the `stride` of its map, in px.

    NaN where there is none: a field that is the whole image has no centre.
    """

    center: tuple[float, float] = (math.nan, math.nan)
    stride: float = math.nan


def theories(rows: Iterable[Mapping[str, Any]]) -> dict[str, Theory]:
    """By target, from the rows of one network's ``trf.parquet``.

    A target without a stride, such as ``output``, has the largest of the others: that of the
    network. A stride that differs between the axes is none.
    """
    rows = list(rows)
    strides = {
        row["target"]: row["stride_h"] if row["stride_h"] == row["stride_w"] else math.nan
        for row in rows
    }
    largest = max((stride for stride in strides.values() if stride > 0), default=math.nan)
    return {
        row["target"]: Theory(
            (row["center_h"], row["center_w"]),
            largest if math.isnan(row["stride_h"]) else strides[row["target"]],
        )
        for row in rows
    }


def center_of_mass(field: np.ndarray) -> tuple[float, float]:
    """Row and column (y, x) of a map (H, W)."""
    row, column = np.indices(field.shape)
    return float((row * field).sum() / field.sum()), float((column * field).sum() / field.sum())


def radius(field: np.ndarray, share: float) -> float:
    """Of the circle around the centre of mass that holds a share of a map (H, W); px.

    A pixel counts by how far the circle reaches into it: from half a pixel before its middle to
    half behind it, so that the radius does not jump from pixel to pixel.
    """
    (y, x), (row, column) = center_of_mass(field), np.indices(field.shape)
    distance = np.hypot(row - y, column - x)
    return _smallest(
        lambda length: float((field * (length - distance + 0.5).clip(0, 1)).sum()),
        share * field.sum(),
        largest=sum(field.shape),
    )


def side(field: np.ndarray, share: float, center: Sequence[float]) -> float:
    """Of the square around a centre (y, x) that holds a share of a map (H, W); px.

    The sensitivity of a pixel is spread over its square of 1 px, so the side is not a whole number.
    """

    def held(length: float) -> float:
        rows, columns = (
            _covered(pixels, place, length)
            for pixels, place in zip(field.shape, center, strict=True)
        )
        return float(rows @ field @ columns)

    return _smallest(held, share * field.sum(), largest=2 * max(field.shape))


def _smallest(held: Callable[[float], float], wanted: float, largest: float) -> float:
    """The length at which what is held, which rises with it, is what is wanted."""
    low, high = 0.0, float(largest)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if held(middle) < wanted else (low, middle)
    return high


def _covered(length: int, center: float, side: float) -> np.ndarray:
    """The part of each pixel (length,) of a line that lies within half a side of its centre."""
    pixel, reach = np.arange(length), side / 2
    first, last = np.maximum(pixel - 0.5, center - reach), np.minimum(pixel + 0.5, center + reach)
    return (last - first).clip(0)


def area(field: np.ndarray, share: float) -> float:
    """Of the square around the image's middle that holds a share of a map (H, W), over the image's.

    The "high-contribution area ratio" of Ding et al., "Scaling Up Your Kernels to 31x31", CVPR
    2022. Their squares have odd whole sides and lie around pixel (H // 2, W // 2).
    """
    height, width = field.shape
    length = side(field, share, ((height - 1) / 2, (width - 1) / 2))
    return min(length, height) * min(length, width) / field.size


def contrast(field: np.ndarray, stride: float) -> float:
    """Root mean square deviation from 1 of the mean tile of a map (H, W), the stride its period.

    NaN where the stride is not a whole number of at least 2 px or the map is smaller.
    """
    if not (2 <= stride <= min(field.shape) and float(stride).is_integer()):
        return math.nan
    return tile_contrast(mean_tile(field, int(stride)))


class Edges(NamedTuple):
    """Mean of the outermost pixels on each side, over that of the middle half of both axes."""

    top: float
    bottom: float
    left: float
    right: float


def edges(field: np.ndarray, stride: float) -> Edges:
    """Of a map (H, W): strips as wide as the stride, but an eighth of the map's side at most.

    Strips are as long as the map. An odd kernel with stride 2 reads the padding at one end of an
    even map and not at the other, so that strips differ: Alsallakh et al., "Mind the Pad", ICLR
    2021. Means are linear in the map, so noise of zero mean does not shift them. NaN where there is
    no stride or the middle is zero.
    """
    rows, columns = (length // 4 for length in field.shape)
    middle = field[rows : field.shape[0] - rows, columns : field.shape[1] - columns].mean()
    if not (stride >= 1 and min(field.shape) >= 8 and middle > 0):
        return Edges(*[math.nan] * 4)
    high, wide = (min(round(stride), length // 8) for length in field.shape)
    strips = field[:high], field[-high:], field[:, :wide], field[:, -wide:]
    return Edges(*(float(strip.mean() / middle) for strip in strips))


def asymmetry(first: float, second: float) -> float:
    """Of two strips, from -1, all in the second, to 1, all in the first."""
    return (first - second) / (first + second) if first + second > 0 else math.nan


@dataclass(frozen=True)
class Metric:
    """A measure of a map (H, W) of which `Theory` says where it should lie.

    header and decimals: in the table of all maps, which lacks it without a header. of_any: also of
    a map that has negative values or is zero, of which nothing is a share.
    """

    of: Callable[[np.ndarray, Theory], float]
    header: str | None = None
    decimals: int = 1
    of_any: bool = False


def _radius(percent: int) -> Metric:
    return Metric(lambda field, _: radius(field, percent / 100), f"radius of {percent} % (px)")


def _side(percent: int) -> Metric:
    return Metric(lambda field, _: side(field, percent / 100, center_of_mass(field)))


def _area(percent: int) -> Metric:
    header = f"area of {percent} %" if percent == 99 else None
    return Metric(lambda field, _: area(field, percent / 100), header, decimals=3)


def _log_area(percent: int) -> Metric:
    return Metric(lambda field, _: area(np.log10(1 + field), percent / 100))


def _edge(name: str) -> Metric:
    header = f"edge, {name}, over the middle"
    return Metric(
        lambda field, theory: getattr(edges(field, theory.stride), name), header, decimals=2
    )


METRICS = {
    **{f"radius_{percent}": _radius(percent) for percent in (50, 90, 99)},
    **{f"side_{percent}": _side(percent) for percent in (50, 90, 99)},
    **{f"area_{percent}": _area(percent) for percent in (20, 30, 50, 99)},
    **{f"log_area_{percent}": _log_area(percent) for percent in (20, 30, 50, 99)},
    "mass_x": Metric(lambda field, _: center_of_mass(field)[1]),
    "mass_y": Metric(lambda field, _: center_of_mass(field)[0]),
    "mass_distance": Metric(
        lambda field, theory: math.dist(center_of_mass(field), theory.center),
        "off the TRF's centre (px)",
    ),
    "dead": Metric(lambda field, _: float((field == 0).mean()), "dead pixels", 3, of_any=True),
    "stride_contrast": Metric(
        lambda field, theory: contrast(field, theory.stride), "tile contrast at own stride", 3
    ),
    **{f"edge_{name}": _edge(name) for name in Edges._fields},
    "asymmetry_x": Metric(
        lambda field, theory: asymmetry(*edges(field, theory.stride)[2:]), "left to right", 3
    ),
    "asymmetry_y": Metric(
        lambda field, theory: asymmetry(*edges(field, theory.stride)[:2]), "top to bottom", 3
    ),
}


def columns() -> list[str]:
    """Names of all that `measure` finds, in the order in which files have them."""
    return ["stride", *(f"{name}{of}" for name in METRICS for of in ("", "_se"))]


def measure(
    receptive_field: np.ndarray, without_each: np.ndarray, theory: Theory
) -> dict[str, float]:
    """Each of `METRICS` of a map (H, W), its jackknife standard error as ``_se``, and the stride.

    without_each: the maps (B, H, W) of `blocks.maps_without_each`. Sampling noise is sensitivity
    too, which no error shows: it is spread over the whole theoretical field, so it widens radii and
    areas, and it raises the contrast. All but ``dead`` is NaN of a map that has negative values or
    is zero.
    """
    found = {"stride": theory.stride}
    for name, metric in METRICS.items():
        found[name] = _value(metric, receptive_field, theory)
        estimates = [_value(metric, field, theory) for field in without_each]
        found[f"{name}_se"] = standard_error(estimates)
    return found


def _value(metric: Metric, field: np.ndarray, theory: Theory) -> float:
    has_shares = (field >= 0).all() and field.any()
    return metric.of(field, theory) if has_shares or metric.of_any else math.nan
