"""An effective receptive field as sums over images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Erf:
    """Effective receptive field of one target, merged with ``+``.

    total and total_squares: sums over images of ReLU(G), or of another field of
        `erf.DEFINITIONS`, and of its square, float64 (H, W).
    count: number of images.
    """

    total: np.ndarray
    total_squares: np.ndarray
    count: int

    @property
    def mean(self) -> np.ndarray:
        """R of Eq. 3, float64 (H, W)."""
        return self.total / self.count

    @property
    def se(self) -> np.ndarray:
        """Standard error of `mean` over images, float64 (H, W); NaN for one image."""
        if self.count < 2:
            return np.full_like(self.total, np.nan)
        variance = (self.total_squares - self.total**2 / self.count) / (self.count - 1)
        return np.sqrt(variance.clip(0) / self.count)

    def __add__(self, other: "Erf") -> "Erf":
        """The field over both sets of images."""
        return Erf(
            self.total + other.total,
            self.total_squares + other.total_squares,
            self.count + other.count,
        )


def joined(fields: Sequence[Erf]) -> Erf:
    """The field over the images of all `fields`, of which there is at least one."""
    return sum(fields[1:], start=fields[0])
