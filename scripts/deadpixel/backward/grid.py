"""Windows over a map: which of its rows and columns they see."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


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

    def padded(self, feature_map: Tensor, outputs: Sequence[int]) -> Tensor:
        """The map, and -inf around it, as far as windows reach; outputs: their (N, C, h, w)."""
        edges = []
        for axis in (1, 0):
            last = self.reach(slice(0, outputs[2 + axis]), axis).stop
            edges += [self.padding[axis], last - feature_map.shape[2 + axis]]
        return functional.pad(feature_map, edges, value=-torch.inf)

    def places(self) -> Iterator[tuple[int, int]]:
        """Rows and columns of a window, from its first one on."""
        rows, columns = (
            range(0, length * step, step)
            for length, step in zip(self.kernel, self.dilation, strict=True)
        )
        return itertools.product(rows, columns)


def _both(size: Any) -> tuple[int, int]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return sizes[0], sizes[-1]
