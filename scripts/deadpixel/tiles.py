"""Sizes of images that a network makes use of, and margins that a large image is cut with."""

import contextlib
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError
from .features import in_evaluation
from .networks.forward import forward
from .receptive_field import ReceptiveField, fields, theoretical
from .trf.windows import Window, WindowMode

_MOST = 512  # pixels, up to which a smallest size is looked for


@dataclass(frozen=True)
class InputSizes:
    """Smallest and largest useful side of a square image, each as (height, width), in pixels."""

    smallest: tuple[float, float]
    largest: tuple[float, float]


def input_sizes(model: nn.Module, target: str, *, channels: int = 3) -> InputSizes:
    """Sizes of images between which `target` makes use of the network and sees all of the image.

    From the smallest size on no weight of a convolution or pool on the way to it sees nothing but
    padding; above the largest the field of the central feature no longer covers the image. The
    second bound is that of Richter et al., "(Input) Size Matters for CNN Classifiers", ICANN 2021,
    measured where the central feature lies; their first, of layers that gain no context, is larger.

    Raises `InputError` if the network takes no square image of up to the size of the field, and
    `UnknownFieldError` if the field is not known.
    """
    field = theoretical(model, target, channels=channels)
    shapes = in_evaluation(model, torch.device("meta"), torch.float32)
    reach = max(size if math.isfinite(size) else _MOST for size in field.size)
    smallest: list[float | None] = [None, None]
    for side in range(1, math.ceil(reach) + 1):
        windows, grid = _windows(shapes, target, channels, side)
        for axis in (0, 1):
            alive = grid and not any(window[axis].blind() for window in windows)
            smallest[axis] = smallest[axis] or (side if alive else None)
        if all(smallest):
            break
    if smallest[0] is None or smallest[1] is None:
        raise InputError(
            f"the network takes no square image of up to {reach:.0f} px that every weight before "
            f"{target!r} sees: choose another target"
        )
    largest = tuple(_largest(shapes, target, channels, field, axis) for axis in (0, 1))
    return InputSizes((smallest[0], smallest[1]), (largest[0], largest[1]))


def _largest(
    shapes: nn.Module, target: str, channels: int, field: ReceptiveField, axis: int
) -> float:
    size, stride, offset = field.size[axis], field.stride[axis], field.offset[axis]
    if size == math.inf:
        return math.inf
    for side in range(math.ceil(size), 0, -1):
        _, grid = _windows(shapes, target, channels, side)
        if grid:
            center = offset + (stride * (grid[axis] // 2) if grid[axis] > 1 else 0.0)
            if center - (size - 1) / 2 <= 0 and center + (size - 1) / 2 >= side - 1:
                return side
    return math.nan


def _windows(
    shapes: nn.Module, target: str, channels: int, side: int
) -> tuple[list[list[Window]], tuple[int, int] | None]:
    """Windows on the way to `target` and its map's height and width; None if there is no map."""
    mode = WindowMode()
    with mode, contextlib.suppress(InputError):
        image = torch.zeros(1, channels, side, side, device="meta")
        shape = _map(shapes, target, image).shape
        return mode.windows, (shape[2], shape[3]) if all(shape) else None
    return mode.windows, None


@dataclass(frozen=True)
class Halo:
    """Margins of a tile in pixels, and the (height, width) whose multiples tiles start and end at.

    Features of a tile equal those of the whole image once those of its margins are cut off. At
    the border of the image a tile has no margin.
    """

    top: int
    bottom: int
    left: int
    right: int
    stride: tuple[int, int]


def halo(
    model: nn.Module,
    target: str,
    input_size: tuple[int, int] = (224, 224),
    *,
    channels: int = 3,
) -> Halo:
    """What to cut a large image into tiles with, so that `target`'s map is that of the whole.

    Raises `InputError` if the field is not exact and finite, or if features do not repeat from
    place to place: then tiles are another network.
    """
    found = fields(model, None, input_size, channels=channels)
    field = found.get(target) or theoretical(model, target, input_size, channels=channels)
    if field.kind != "exact" or math.inf in field.size:
        raise InputError(
            f"target {target!r} has no halo, for its field is {field.kind}: choose an earlier one"
        )
    margins: list[int] = []
    strides: list[int] = []
    for axis in (0, 1):
        steps = [other.stride[axis] for other in found.values() if other.stride[axis] > 0]
        whole = math.lcm(*(Fraction(step).limit_denominator(64).numerator for step in steps))
        reach, step = (field.size[axis] - 1) / 2, field.stride[axis]
        slack = whole if step < whole else 0  # features of an enlarged map are not all the same
        before = slack + reach - field.offset[axis]
        after = slack + reach + field.offset[axis] - step + 1
        margins += [max(0, math.ceil(margin / whole)) * whole for margin in (before, after)]
        strides.append(whole)
    top, bottom, left, right = margins
    found_halo = Halo(top, bottom, left, right, (strides[0], strides[1]))
    if not _tiles_agree(model, target, found_halo, channels):
        raise InputError(
            f"the features of target {target!r} do not repeat from place to place, so it has no "
            "halo: choose an earlier one"
        )
    return found_halo


def _tiles_agree(model: nn.Module, target: str, margins: Halo, channels: int) -> bool:
    """Whether a random image without its first, then its last rows and columns yields the same."""
    model = in_evaluation(model, torch.device("cpu"), torch.float64)
    down, across = margins.stride
    height = margins.top + 2 * margins.bottom + 4 * down
    size = height, margins.left + 2 * margins.right + 4 * across
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, channels, *size, generator=generator, dtype=torch.float64)
    whole, late, early = (
        _map(model, target, part)
        for part in (image, image[:, :, down:, across:], image[:, :, :-down, :-across])
    )
    row, column = (a - b for a, b in zip(whole.shape[2:], late.shape[2:], strict=True))
    top, left = margins.top // down * row, margins.left // across * column
    height = early.shape[2] - margins.bottom // down * row
    width = early.shape[3] - margins.right // across * column
    pairs = [
        (whole[:, :, row + top :, column + left :], late[:, :, top:, left:]),
        (whole[:, :, :height, :width], early[:, :, :height, :width]),
    ]
    return all(a.shape == b.shape and torch.allclose(a, b) for a, b in pairs)


def _map(model: nn.Module, target: str, image: Tensor) -> Tensor:
    """The map (N, C, h, w) of `target`; raises `InputError` if it yields none."""
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
        maps.append(output)
        raise _FoundError

    module = model if target == "output" else model.get_submodule(target)
    handle = module.register_forward_hook(keep)
    try:
        with torch.no_grad(), contextlib.suppress(_FoundError):
            forward(model, image)
    finally:
        handle.remove()
    if not maps or not isinstance(maps[0], Tensor) or maps[0].ndim != 4:
        raise InputError(f"target {target!r} yields no map (N, C, h, w): choose another module")
    return maps[0]


class _FoundError(BaseException):  # that no network catches
    """Ends the forward pass at the map."""
