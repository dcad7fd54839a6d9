"""A convolution whose gradient is computed where it is not zero, and once for all colours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .grid import Grid


class _Kernel(NamedTuple):
    """What a convolution does, and whether its maps are channels last."""

    weight: Tensor
    grid: Grid
    groups: int
    channels_last: bool


class Convolution(Function):
    """A convolution of maps (N, C, H, W), whose weight and bias have no gradients.

    once: the maps are images, of whose gradient only the mean over colours is asked for.
    """

    @staticmethod
    def forward(
        ctx: Any,
        feature_map: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        grid: Grid,
        groups: int,
        once: bool,
    ) -> Tensor:
        """Same as `torch.conv2d`."""
        found = torch.conv2d(feature_map, weight, bias, *grid[1:], groups)
        ctx.save_for_backward(weight)
        ctx.shape, ctx.once, ctx.others = feature_map.shape, once, (grid, groups, _is_last(found))
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        """As PyTorch's but for rounding; with `once`, each colour's is the mean over them."""
        kernel = _Kernel(*ctx.saved_tensors, *ctx.others)
        way = _once_for_all_colours if ctx.once else _where_it_is
        return way(gradient, kernel, ctx.shape), None, None, None, None, None


def _once_for_all_colours(gradient: Tensor, kernel: _Kernel, shape: torch.Size) -> Tensor:
    """Gradient of images of `shape` (N, C, H, W), one colour of them in memory.

    A stride of s is undone by a convolution of stride 1 with s x s channels, one for each place of
    s x s pixels, which takes less than half the time of PyTorch's.
    """
    stride, (height, width) = kernel.grid.stride[0], kernel.grid.kernel
    rows, columns = -(-height // stride), -(-width // stride)
    mean = kernel.weight.mean(1)
    whole = functional.pad(mean, (0, columns * stride - width, 0, rows * stride - height))
    places = whole.view(-1, rows, stride, columns, stride).permute(2, 4, 0, 1, 3).flip(3, 4)
    mixed = places.reshape(stride * stride, -1, rows, columns)
    found = torch.conv2d(gradient, mixed, padding=(rows - 1, columns - 1))
    image = functional.pixel_shuffle(found, stride)
    (top, left), (height, width) = kernel.grid.padding, shape[2:]
    image = image[:, :, top : top + height, left : left + width]
    unseen = 0, width - image.shape[3], 0, height - image.shape[2]
    return functional.pad(image, unseen).expand(shape)


def _where_it_is(gradient: Tensor, kernel: _Kernel, shape: torch.Size) -> Tensor:
    """Gradient of maps of `shape` (N, C, H, W); that of a feature in their middle is small."""
    spans = _spans(gradient)
    if spans is None:
        return _everywhere(gradient, kernel, shape)
    reach = [kernel.grid.reach(span, axis) for axis, span in enumerate(spans)]
    covered = _everywhere(
        gradient[:, :, spans[0], spans[1]],
        kernel._replace(grid=kernel.grid._replace(padding=(0, 0))),
        (*shape[:2], *(span.stop - span.start for span in reach)),
    )
    found = _empty(shape, gradient, kernel).zero_()
    (rows, seen_rows), (columns, seen_columns) = map(_within, reach, shape[2:])
    found[:, :, rows, columns] = covered[:, :, seen_rows, seen_columns]
    return found


def _within(reach: slice, length: int) -> tuple[slice, slice]:
    """The part of a map of that length that is reached, and which part of the reach it is."""
    start = max(0, reach.start)
    stop = max(start, min(reach.stop, length))
    return slice(start, stop), slice(start - reach.start, stop - reach.start)


def _everywhere(gradient: Tensor, kernel: _Kernel, shape: Sequence[int]) -> Tensor:
    unread = _empty(shape, gradient, kernel)
    geometry = *kernel.grid[1:], False, (0, 0), kernel.groups
    found, _, _ = torch.ops.aten.convolution_backward(
        gradient, unread, kernel.weight, None, *geometry, (True, False, False)
    )
    return found


def _empty(shape: Sequence[int], like: Tensor, kernel: _Kernel) -> Tensor:
    last = torch.channels_last if kernel.channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=last)


def _is_last(feature_map: Tensor) -> bool:
    return feature_map.is_contiguous(memory_format=torch.channels_last)


def _spans(gradient: Tensor) -> list[slice] | None:
    """Rows and columns outside of which it is zero; None if there are hardly any.

    Also None on a GPU, which would have to wait for the answer.
    """
    corners = (gradient[:, :, end, end] for end in (0, -1))
    if gradient.device.type != "cpu" or all(corner.any() for corner in corners):
        return None
    used = gradient.abs().sum((0, 1)) != 0  # `any` takes four times as long
    places = [used.any(axis).nonzero().flatten().tolist() or [0] for axis in (1, 0)]
    return [slice(found[0], found[-1] + 1) for found in places]
