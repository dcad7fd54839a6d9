"""A max-pool whose largest values share the gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .grid import Grid

# Values of one image are equal within so many roundings of its largest one: sums of a thousand
# products in another order differ by less, and other values are hardly ever so near.
_ROUNDINGS = 8


class MaxPool(Function):
    """A maximum over windows, whose gradient its largest values share equally.

    PyTorch gives all of it to one of them: to the first, or, where values are equal but for
    rounding, to whichever that favours. So its answer leans to the top left, and depends on the
    layout in memory, wherever an image is flat.
    """

    @staticmethod
    def forward(
        ctx: Any, feature_map: Tensor, grid: Grid, ceil_mode: bool, behind_relu: bool
    ) -> Tensor:
        """Same as `functional.max_pool2d`. behind_relu: the map is what a ReLU puts out."""
        largest, first = _largest(feature_map, grid, ceil_mode)
        rounding = _rounding(feature_map)
        doubtful = _may_tie(feature_map, grid, ceil_mode, rounding) & largest.isfinite()
        if behind_relu:
            doubtful &= largest > 0  # where a ReLU puts out 0 it lets no gradient through
        image, channel, row, column = doubtful.nonzero(as_tuple=True)
        least = (largest - rounding)[doubtful]
        padded = grid.padded(feature_map, largest.shape)
        equal = [
            padded[image, channel, row * grid.stride[0] + down, column * grid.stride[1] + right]
            >= least
            for down, right in grid.places()
        ]
        ctx.save_for_backward(feature_map, first, doubtful, image, channel, row, column, *equal)
        ctx.grid, ctx.ceil_mode = grid, ceil_mode
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        """As PyTorch's, where no window has several largest values."""
        feature_map, first, doubtful, image, channel, row, column, *equal = ctx.saved_tensors
        found = torch.ops.aten.max_pool2d_with_indices_backward(
            torch.where(doubtful, 0, gradient), feature_map, *ctx.grid, ctx.ceil_mode, first
        )
        if len(image):
            shares = gradient[image, channel, row, column] / sum(equal)
            rows, columns = row * ctx.grid.stride[0], column * ctx.grid.stride[1]
            top, left = ctx.grid.padding
            for (down, right), here in zip(ctx.grid.places(), equal, strict=True):
                pixels = rows[here] + down - top, columns[here] + right - left
                found[image[here], channel[here], *pixels] += shares[here]
        return found, None, None, None


def _largest(feature_map: Tensor, grid: Grid, ceil_mode: bool) -> tuple[Tensor, Tensor]:
    """Maxima of windows and where the first of the largest values lies."""
    return torch.ops.aten.max_pool2d_with_indices(feature_map, *grid, ceil_mode)


def _may_tie(feature_map: Tensor, grid: Grid, ceil_mode: bool, rounding: Tensor) -> Tensor:
    """Which windows have several largest values, but for `rounding`; a few others are among them.

    On a map that rises to the lower right the last of them is the largest, on one that falls the
    first, whatever rounding adds. To compare all values of all windows takes three times as long.
    """
    height, width = feature_map.shape[2:]
    rows = torch.arange(height, device=feature_map.device, dtype=feature_map.dtype)[:, None]
    columns = torch.arange(width, device=feature_map.device, dtype=feature_map.dtype)
    reach = grid.dilation[0] * (grid.kernel[0] - 1) + 1
    slope = 2 * rounding * (rows + reach * columns)
    tilted = feature_map + slope
    _, last = _largest(tilted, grid, ceil_mode)
    _, first = _largest(tilted.sub_(2 * slope), grid, ceil_mode)
    return first != last


def _rounding(feature_map: Tensor) -> Tensor:
    """Difference (N, 1, 1, 1) that rounding makes between values that are equal."""
    kind = torch.finfo(feature_map.dtype)
    largest = feature_map.abs().amax((1, 2, 3), keepdim=True).nan_to_num(posinf=0)
    return (largest * kind.eps * _ROUNDINGS).clamp(min=kind.tiny)
