"""Theoretical receptive fields, each with a word for what it is: exact, bound or unknown.

One forward pass runs under a dispatch mode that sees each ATen operation, so that any network that
runs can be measured, whatever its Python looks like. The arithmetic is that of Araujo, Norris and
Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from .errors import InputError
from .logs import log
from .networks.forward import forward
from .targets import check_targets
from .trf.algebra import (
    UNKNOWN,
    Field,
    UnknownFieldError,
    image_field,
    period,
    span,
)
from .trf.tracing import Doubt, ExitMode, FieldMode
from .trf.windows import Window, WindowMode


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of the features of one map, in input pixels, each as (height, width).

    size: last minus first position plus one, positions in the padding included; `math.inf` where a
        feature depends on the whole image whatever its size.
    stride: distance between the fields of neighbouring features, on average where it varies; NaN
        where there is one feature or the size is infinite.
    offset: centre of feature (0, 0)'s field; NaN where the size is infinite.
    center: centre of the field of the central feature, at h // 2 and w // 2 of the map's own size;
        NaN where the size is infinite.
    kind: ``exact``; ``whole input``, exact too; ``upper bound`` where data decide what is read; or
        ``unknown``, all numbers NaN, for an operation without a rule or maps too small to tell.
    reason: why it is an upper bound or unknown, with the operation's name; else empty.

    Features of attention in windows differ in size: that of the central one is given, for images
    of the size asked for.
    """

    size: tuple[float, float]
    stride: tuple[float, float]
    offset: tuple[float, float]
    center: tuple[float, float]
    kind: str = "exact"
    reason: str = ""


def theoretical(
    model: nn.Module,
    target: str,
    input_size: tuple[int, int] = (224, 224),
    *,
    squeeze_excitation: bool = True,
) -> ReceptiveField:
    """Theoretical receptive field of `target`, the name of a module of `model` or ``output``.

    With `squeeze_excitation=False` a map multiplied by a gate of fewer positions keeps its own
    field, as if the gate were the identity. `model` is left as it was.

    Raises `InputError` if the target does not exist or yields no single tensor, and
    `UnknownFieldError` if an operation on the way to it is not known or its maps are too small.
    """
    found = fields(model, [target], input_size, squeeze_excitation=squeeze_excitation)[target]
    if found.kind == "unknown":
        raise UnknownFieldError(found.reason)
    return found


def fields(
    model: nn.Module,
    targets: Iterable[str] | None = None,
    input_size: tuple[int, int] = (224, 224),
    *,
    squeeze_excitation: bool = True,
) -> dict[str, ReceptiveField]:
    """`theoretical` for several targets in one pass; by default for every module with one output.

    Of a module that is called more than once, the first call counts. Fields that cannot be
    determined are of the kind ``unknown``.
    """
    model = copy.deepcopy(model).to("cpu", torch.float32).eval()
    modules = {"output": model, **{name: m for name, m in model.named_modules() if name}}
    wanted = check_targets(dict.fromkeys(modules if targets is None else targets), modules)
    mode = FieldMode(input_size, gates_are_identity=not squeeze_excitation)
    found: dict[str, ReceptiveField] = {}

    def hook(name: str) -> Callable[..., None]:
        def record(_module: nn.Module, _arguments: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output in mode.fields:
                if name not in found:
                    with _disable_current_modes():
                        found[name] = _summarise(name, mode.fields[output], mode.doubt(output))
            elif targets is not None:
                raise InputError(
                    f"target {name!r} does not yield one tensor that the image reaches: choose "
                    "another module"
                )
            if targets is not None and len(found) == len(wanted):
                raise _AllFoundError

        return record

    for name in wanted:
        modules[name].register_forward_hook(hook(name))
    image = torch.zeros(1, 3, *input_size)
    try:
        with torch.no_grad(), _taken_apart(), ExitMode(mode.fields), mode:
            mode.record(image, image_field(input_size))
            forward(model, image)
    except _AllFoundError:
        pass
    except UnknownFieldError as error:
        log.info("nothing is known after %d of the modules: %s", len(found), error)
        found |= {name: _unknown(str(error)) for name in wanted if name not in found and targets}
    if targets is not None and (unreached := [name for name in wanted if name not in found]):
        raise InputError(f"target {unreached[0]!r} is never called in a forward pass")
    return found


@dataclass(frozen=True)
class InputSizes:
    """Smallest and largest useful side of a square image, each as (height, width), in pixels."""

    smallest: tuple[float, float]
    largest: tuple[float, float]


def input_sizes(model: nn.Module, target: str) -> InputSizes:
    """Sizes of images between which `target` makes use of the network and sees all of the image.

    From the smallest size on no weight of a convolution or pool on the way to it sees nothing but
    padding; above the largest the field of the central feature no longer covers the image. The
    second bound is that of Richter et al., "(Input) Size Matters for CNN Classifiers", ICANN 2021,
    measured where the central feature lies; their first, of layers that gain no context, is larger.

    Raises `InputError` if the network takes no square image of up to the size of the field, and
    `UnknownFieldError` if the field is not known.
    """
    field = theoretical(model, target)
    shapes = copy.deepcopy(model).to("meta", torch.float32).eval()
    reach = max(size if math.isfinite(size) else _MOST for size in field.size)
    smallest: list[float | None] = [None, None]
    for side in range(1, math.ceil(reach) + 1):
        windows, grid = _windows(shapes, target, side)
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
    largest = tuple(_largest(shapes, target, field, axis) for axis in (0, 1))
    return InputSizes((smallest[0], smallest[1]), (largest[0], largest[1]))


def _largest(shapes: nn.Module, target: str, field: ReceptiveField, axis: int) -> float:
    size, stride, offset = field.size[axis], field.stride[axis], field.offset[axis]
    if size == math.inf:
        return math.inf
    for side in range(math.ceil(size), 0, -1):
        _, grid = _windows(shapes, target, side)
        if grid:
            center = offset + (stride * (grid[axis] // 2) if grid[axis] > 1 else 0.0)
            if center - (size - 1) / 2 <= 0 and center + (size - 1) / 2 >= side - 1:
                return side
    return math.nan


def _windows(
    shapes: nn.Module, target: str, side: int
) -> tuple[list[list[Window]], tuple[int, int] | None]:
    """Windows on the way to `target` and its map's height and width; None if there is no map."""
    mode = WindowMode()
    with mode, contextlib.suppress(InputError):
        shape = _map(shapes, target, torch.zeros(1, 3, side, side, device="meta")).shape
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


def halo(model: nn.Module, target: str, input_size: tuple[int, int] = (224, 224)) -> Halo:
    """What to cut a large image into tiles with, so that `target`'s map is that of the whole.

    Raises `InputError` if the field is not exact and finite, or if features do not repeat from
    place to place: then tiles are another network.
    """
    found = fields(model, None, input_size)
    field = found.get(target) or theoretical(model, target, input_size)
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
    if not _tiles_agree(model, target, found_halo):
        raise InputError(
            f"the features of target {target!r} do not repeat from place to place, so it has no "
            "halo: choose an earlier one"
        )
    return found_halo


def _tiles_agree(model: nn.Module, target: str, margins: Halo) -> bool:
    """Whether a random image without its first, then its last rows and columns yields the same."""
    model = copy.deepcopy(model).to("cpu", torch.float64).eval()
    down, across = margins.stride
    height = margins.top + 2 * margins.bottom + 4 * down
    size = height, margins.left + 2 * margins.right + 4 * across
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *size, generator=generator, dtype=torch.float64)
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
        raise _AllFoundError

    module = model if target == "output" else model.get_submodule(target)
    handle = module.register_forward_hook(keep)
    try:
        with torch.no_grad(), contextlib.suppress(_AllFoundError):
            forward(model, image)
    finally:
        handle.remove()
    if not maps or not isinstance(maps[0], Tensor) or maps[0].ndim != 4:
        raise InputError(f"target {target!r} yields no map (N, C, h, w): choose another module")
    return maps[0]


def table(
    model: nn.Module, targets: Mapping[str, str], input_size: tuple[int, int]
) -> list[dict[str, float | str]]:
    """Rows target, size_h, size_w, ... of the contract `schemas.TRF`, for module names by target.

    gateless_size is the size with squeeze-excitation taken as the identity. Where a field cannot be
    determined the numbers are missing, and the column `reason` and the log say why.
    """
    rows: list[dict[str, float | str]] = []
    found = fields(model, targets.values(), input_size)
    gateless = fields(model, targets.values(), input_size, squeeze_excitation=False)
    for target, module in targets.items():
        field = found[module]
        row: dict[str, float | str] = {"target": target, "kind": field.kind, "reason": field.reason}
        parts = {name: getattr(field, name) for name in ("size", "stride", "offset", "center")}
        parts["gateless_size"] = gateless[module].size
        for name, (height, width) in parts.items():
            row |= {f"{name}_h": height, f"{name}_w": width}
        if field.reason:
            log.warning("target %s: %s", target, field.reason)
        rows.append(row)
    return rows


@contextlib.contextmanager
def _taken_apart() -> Iterator[None]:
    """Multi-head attention as the operations that it is made of, not as one fast one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _unknown(reason: str) -> ReceptiveField:
    nothing = (math.nan, math.nan)
    return ReceptiveField(nothing, nothing, nothing, nothing, "unknown", reason)


_MOST = 512  # pixels, up to which a smallest size is looked for


class _AllFoundError(BaseException):  # that no network catches
    """Ends the forward pass: what comes after the last target need not be known."""


def _summarise(target: str, field: Field, doubt: Doubt) -> ReceptiveField:
    """Size at the central feature, whose field no rule about borders has touched."""
    if doubt.kind == "unknown":
        return _unknown(doubt.reason)
    rows, columns = _map_axes(field)
    try:
        height = _along(target, field.first_row, field.last_row, rows, columns)
        width = _along(target, field.first_column, field.last_column, columns, rows)
    except UnknownFieldError as error:
        return _unknown(str(error))
    size, stride, offset, center = zip(height, width, strict=True)
    whole = doubt.kind == "exact" and size == (math.inf, math.inf)
    kind = "whole input" if whole else doubt.kind
    return ReceptiveField(size, stride, offset, center, kind, doubt.reason)


def _map_axes(field: Field) -> tuple[int | None, int | None]:
    """Along which dimensions the rows and the columns of a map lie; None if there is but one."""
    axes = [
        [dim for dim in range(place.ndim) if span(place, field, [dim]).any()] for place in field[4:]
    ]
    if field.row.ndim != 4 or axes[0] == axes[1]:  # no longer a map: one place
        return None, None
    rows, columns = (axis[0] if len(axis) == 1 else None for axis in axes)
    return rows, columns


def _along(
    target: str, first: Tensor, last: Tensor, axis: int | None, other: int | None
) -> tuple[float, float, float, float]:
    """Size, stride, offset and centre along an axis of the map, half-way along the other."""
    if other is not None:
        first, last = (part.narrow(other, part.shape[other] // 2, 1) for part in (first, last))
    across = [dim for dim in range(first.ndim) if dim != axis]
    first, last = first.amin(across).view(-1), -last.amin(across).view(-1)
    middle = len(first) // 2
    size = float(last[middle] - first[middle] + 1)
    if size == math.inf:
        return math.inf, math.nan, math.nan, math.nan
    if size == -math.inf:
        raise InputError(
            f"the central feature of target {target!r} depends on no pixel: choose another module"
        )
    if size > -UNKNOWN / 2:
        raise UnknownFieldError(
            f"the feature maps before target {target!r} are too small to tell its receptive field; "
            "choose a larger input size"
        )
    centres = (first + last) / 2
    stride, center = _mean_step(centres), float(centres[middle])
    return size, stride, center - middle * stride if middle else center, center


def _mean_step(centres: Tensor) -> float:
    """Distance of neighbouring centres, over one recurrence of their pattern, borders aside."""
    centres = centres.nan_to_num(math.inf)  # features that depend on nothing
    known = (centres.abs() < -UNKNOWN / 2).nonzero().flatten()
    if len(known) < 2:
        return math.nan
    centres = centres[known[0] : known[-1] + 1]
    step = period([centres], 0) or len(centres) - 1
    return float(centres[step] - centres[0]) / step
