"""Windows over a map: which of its rows and columns they see."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor


class Grid(NamedTuple):
    """Windows over a map, by rows and columns."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, kernel: Any, stride: Any, padding: Any, dilation: Any) -> "Grid":
        """Of sizes as PyTorch takes them: one for both axes, or one for each."""
        return cls(*map(_both, (kernel, stride, padding, dilation)))

    @property
    def is_patches(self) -> bool:
        """Whether a convolution's image can be had `once_for_all_colours`."""
        return self.stride[0] == self.stride[1] and tuple(self.dilation) == (1, 1)

    def reach(self, span: slice, axis: int) -> slice:
        """What a span of windows covers of the map and its padding, from the map's first row on."""
        first = span.start * self.stride[axis] - self.padding[axis]
        last = (span.stop - 1) * self.stride[axis] - self.padding[axis]
        return slice(first, last + self.dilation[axis] * (self.kernel[axis] - 1) + 1)

    def pixels(self, row: Tensor, column: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows and columns of the first pixel of windows, then of their next one, up to the last.

        row and column: of the windows. Pixels of the padding lie outside of the map.
        """
        starts = (
            place * stride - padding
            for place, stride, padding in zip((row, column), self.stride, self.padding, strict=True)
        )
        rows, columns = (
            [start + step * number for number in range(length)]
            for start, length, step in zip(starts, self.kernel, self.dilation, strict=True)
        )
        return itertools.product(rows, columns)


def _both(size: Any) -> tuple[int, int]:
    """Also of NumPy's integers, which PyTorch takes."""
    sizes = [*map(int, size)] if isinstance(size, Iterable) else [int(size)]
    return sizes[0], sizes[-1]
