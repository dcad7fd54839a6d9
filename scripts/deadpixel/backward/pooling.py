"""A max-pool whose largest values share the gradient."""

from collections.abc import Sequence
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
        rounding = _rounding(feature_map, behind_relu)
        doubtful = _may_tie(feature_map, grid, ceil_mode, rounding)
        if behind_relu:
            doubtful &= largest > 0  # where a ReLU puts out 0 it lets no gradient through
        image, channel, row, column = windows = doubtful.nonzero(as_tuple=True)
        least = largest[windows] - rounding.flatten()[image]
        equal = [
            _holds(feature_map, (image, channel, *pixels), least)
            for pixels in grid.pixels(row, column)
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
            pixels = ctx.grid.pixels(row, column)
            for (rows, columns), here in zip(pixels, equal, strict=True):
                found[image[here], channel[here], rows[here], columns[here]] += shares[here]
        return found, None, None, None


def _holds(feature_map: Tensor, pixels: Sequence[Tensor], least: Tensor) -> Tensor:
    """Which of `pixels`, by image, channel, row and column, are at least that, and of the map."""
    *_, rows, columns = pixels
    height, width = feature_map.shape[2:]
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    nearest = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return within & (feature_map[*pixels[:2], *nearest] >= least)


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


def _rounding(feature_map: Tensor, positive: bool) -> Tensor:
    """Difference (N, 1, 1, 1) that rounding makes between values that are equal."""
    kind = torch.finfo(feature_map.dtype)
    largest = feature_map.amax((1, 2, 3), keepdim=True).nan_to_num(posinf=0)
    if not positive:
        lowest = feature_map.amin((1, 2, 3), keepdim=True).nan_to_num(neginf=0)
        largest = largest.maximum(-lowest)
    return (largest * kind.eps * _ROUNDINGS).clamp(min=kind.tiny)
