"""What takes a checkerboard out of a saliency map, once it is made.

Corrections act on strengths, the absolute values of maps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..imbalance import repeated

CUTOFF = 15 / 224  # cycles per pixel: FORGrad's default in its authors' library, Xplique


def _by_tile(strengths: np.ndarray, tile: np.ndarray) -> np.ndarray:
    if not np.isfinite(tile).all():
        raise InputError(
            "the mean tile of the effective receptive field is unknown at some phases: "
            "accumulate the field over more images"
        )
    tiles = repeated(tile, strengths.shape[1:])
    return strengths / np.where(tiles > 0, tiles, 1)


def _low_pass(strengths: np.ndarray, _tile: np.ndarray) -> np.ndarray:
    height, width = strengths.shape[1:]
    kept = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) <= CUTOFF
    return np.abs(np.fft.irfft2(np.fft.rfft2(strengths) * kept, (height, width)))


@dataclass(frozen=True)
class Correction:
    """What becomes of strengths (N, H, W), given the mean tile of R (period, period)."""

    title: str
    source: str
    correct: Callable[[np.ndarray, np.ndarray], np.ndarray]


CORRECTIONS = {
    "none": Correction("none", "", lambda strengths, _tile: strengths),
    "tile": Correction("divided by the mean tile", "ours", _by_tile),
    "low_pass": Correction("low-pass", "FORGrad, Muzellec et al. 2024", _low_pass),
}


def corrected(name: str, maps: np.ndarray, tile: np.ndarray) -> np.ndarray:
    """Strengths (N, H, W) of maps, signed or not, after one of `CORRECTIONS`.

    tile: `imbalance.mean_tile` of R of other images (period, period). Where it is zero, at dead
    pixels, strengths stay as they are; raises `InputError` if it is needed and not finite.
    FORGrad's cut-off, which its authors look for in each network, is fixed: `CUTOFF`.
    """
    return CORRECTIONS[name].correct(np.abs(maps), tile)
