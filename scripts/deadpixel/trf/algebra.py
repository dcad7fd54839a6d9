"""Receptive fields of whole tensors, and what can be done to them.

Beside every tensor that depends on the image travels a `Field` of the same shape: for each element
the first and last input row and column it can depend on. Unions, windows and going on beyond the
border of a map are all that the rules for operations are made of.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError

ROWS, COLUMNS = -2, -1
NOWHERE, EVERYWHERE = math.inf, -math.inf
UNKNOWN = -1e300  # beyond every position, so that it wins each union but that with EVERYWHERE
_MARGIN = 0.1  # of the image, which strides that do not come out even may leave unseen


class UnknownFieldError(InputError):
    """A field that cannot be determined: of an operation without a rule, or of tiny maps."""


class Field(NamedTuple):
    """For each element of a tensor, the input positions it can depend on.

    The last positions are stored negated, so that every union is a minimum: `NOWHERE` for no
    position at all, `EVERYWHERE` for all of them, `UNKNOWN` where the map is too small to tell.
    `row` and `column` number the feature's place in its own map, which tells a reduction over space
    from one over channels.
    """

    first_row: Tensor
    last_row: Tensor
    first_column: Tensor
    last_column: Tensor
    row: Tensor
    column: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "Field":
        """The field with `function` applied to each of its parts."""
        return Field(*(function(part) for part in self))


def image_field(image: Tensor) -> Field:
    """Field of an image (1, C, H, W) itself: each pixel depends on its own position."""
    height, width = image.shape[2:]
    row = torch.arange(height, dtype=torch.float64)[:, None].expand(image.shape)
    column = torch.arange(width, dtype=torch.float64).expand(image.shape)
    return Field(row, -row, column, -column, row, column)


def constant(shape: Sequence[int], position: float) -> Field:
    """Field of a tensor that depends on the image `NOWHERE`, `EVERYWHERE` or who knows where."""
    edge = torch.full((1,) * len(shape), position, dtype=torch.float64).expand(shape)
    place = torch.zeros((1,) * len(shape), dtype=torch.float64).expand(shape)
    return Field(edge, edge, edge, edge, place, place)


def compact(part: Tensor, *keep: int) -> Tensor:
    """One line of each dimension along which `part` was merely expanded, but for those to `keep`.

    Of a convolution all channels have one field; work is done for one of them.
    """
    for dim in range(-part.ndim, 0):
        if part.stride(dim) == 0 and dim not in keep:
            part = part.narrow(dim, 0, 1)
    return part


def union(parts: Sequence[Field], shape: Sequence[int]) -> Field:
    """Elements that depend on whatever any of the broadcast `parts` depends on."""
    if len(parts) == 1:
        return parts[0].map(lambda part: part.expand(shape))
    merged = parts[0].map(compact)
    for part in parts[1:]:
        part = part.map(compact)
        edges = [torch.minimum(a, b) for a, b in zip(merged[:4], part[:4], strict=True)]
        places = [torch.maximum(a, b) for a, b in zip(merged[4:], part[4:], strict=True)]
        merged = Field(*edges, *places)
    return merged.map(lambda part: part.expand(shape))


def span(place: Tensor, field: Field, dims: list[int]) -> Tensor:
    """How far the outermost places along `dims` are apart, of elements that depend on the image."""
    somewhere, place = compact(field.first_row) != NOWHERE, compact(place)
    high = torch.where(somewhere, place, -math.inf).amax(dims, keepdim=True)
    low = torch.where(somewhere, place, math.inf).amin(dims, keepdim=True)
    return (high - low).clamp(min=0)


def varies(field: Field, dim: int) -> bool:
    """Whether `dim` is one of space, and not of channels."""
    return any(bool((span(place, field, [dim]) > 0).any()) for place in field[4:])


def reduced(field: Field, dims: Sequence[int], image: tuple[int, int]) -> Field:
    """Union over `dims`, kept with size 1: the whole image where that is what the map depends on.

    A part of the map keeps its first and last position, be it a window of neighbours or a grid, and
    so does a map that was cut out of the middle of the `image` (height, width).
    """
    for dim in dims:
        field = _reduced_along(field, dim, image)
    return field


def _reduced_along(field: Field, dim: int, image: tuple[int, int]) -> Field:
    through = [span(place, field, [dim]) > 0 for place in field[4:]]
    nowhere = compact(field.first_row) == NOWHERE
    edges = [
        edge
        for pair, length in zip((field[:2], field[2:4]), image, strict=True)
        for edge in _united([*map(compact, pair)], dim, through[0] | through[1], length)
    ]

    def number(place: Tensor) -> Tensor:
        first = torch.where(nowhere, math.inf, compact(place)).amin(dim, keepdim=True)
        return torch.where(first.isinf(), 0.0, first)

    shape = list(field.row.shape)
    shape[dim] = 1
    return Field._make([*edges, *map(number, field[4:])]).map(lambda part: part.expand(shape))


def _united(pair: list[Tensor], dim: int, through: Tensor, length: int) -> list[Tensor]:
    """The unions of the first and of the last positions along `dim`."""
    first, last = pair
    unions = [edge.amin(dim, keepdim=True) for edge in pair]
    whole = through & (unions[0] == first.min()) & (unions[1] == last.min())
    whole &= (unions[0] <= _MARGIN * length) & (-unions[1] >= (1 - _MARGIN) * length - 1)
    return [
        torch.where(whole & _differs(edge, union, dim), EVERYWHERE, union)
        for edge, union in zip(pair, unions, strict=True)
    ]


def _differs(edge: Tensor, union: Tensor, dim: int) -> Tensor:
    return edge.masked_fill(edge == NOWHERE, -math.inf).amax(dim, keepdim=True) > union


def extended(field: Field, dim: int, before: int, after: int) -> Field:
    """`field` going on as it was beyond both ends of a dimension of space: padding counts."""
    if before <= 0 and after <= 0:
        size = field.row.shape[dim] + before + after
        return field.map(lambda part: part.narrow(dim, -before, size))
    rows, columns = field[:2], field[2:4]
    if all(
        bool((edge == edge.narrow(dim, 0, 1)).all()) for edge in map(compact, (*rows, *columns))
    ):
        # a single place, however often repeated, does not tell how far off its neighbour would be
        own = rows if dim == ROWS else columns
        steps = [0 if any(bool(compact(edge).isfinite().any()) for edge in own) else None] * 2
    else:
        steps = [period(pair, dim) for pair in (rows, columns)]
    steps = [steps[0], steps[0], steps[1], steps[1], None, None]
    return Field(*map(_continued, field, steps, [dim] * 6, [before] * 6, [after] * 6))


def _continued(part: Tensor, step: int | None, dim: int, before: int, after: int) -> Tensor:
    """`part` going on in its pattern of `step` places; unknown if that is 0, at rest if None."""
    shape, length = list(part.shape), part.shape[dim]
    shape[dim] += before + after
    part, index = compact(part, dim), torch.arange(-before, length + after)
    along = [-1] + [1] * (-1 - dim)
    if not step:
        result = part.index_select(dim, index.clamp(0, length - 1))
        if step == 0:
            outside = ((index < 0) | (index >= length)).view(along)
            result = torch.where(outside & result.isfinite(), UNKNOWN, result)
        return result.expand(shape)
    start = part.index_select(dim, index % step)
    drift = part.index_select(dim, index % step + step) - start
    times = index.div(step, rounding_mode="floor").view(along)
    return torch.where(start.isinf(), start, start + drift * times).expand(shape)


def period(edges: Sequence[Tensor], dim: int) -> int:
    """After how many steps along `dim` the pattern of `edges` recurs, all moved by the same; or 0.

    It is 1 but for maps that were enlarged, whose features differ.
    """
    lines = [compact(edge, dim).movedim(dim, -1) for edge in edges]
    sample = [line[(0,) * (line.ndim - 1)] for line in lines]  # rules out most at little cost
    for step in range(1, edges[0].shape[dim] // 2 + 1):
        if _recur(sample, step) and _recur(lines, step):
            return step
    return 0


def _recur(lines: Sequence[Tensor], step: int) -> bool:
    if len(lines) == 2:
        size = lines[0] + lines[1]  # the last positions are negative
        if bool((size[..., step:] != size[..., :-step]).any()):
            return False
    return all(_recurs(line[..., :-step], line[..., step:]) for line in lines)


def _recurs(earlier: Tensor, later: Tensor) -> bool:
    infinite = earlier.isinf() & (earlier == later)
    drift = later - earlier
    low = torch.where(infinite, math.inf, drift).amin(-1)
    high = torch.where(infinite, -math.inf, drift).amax(-1)
    return bool((low >= high).all())


def window(
    field: Field, dim: int, kernel: int, stride: int, padding: int, dilation: int, outputs: int
) -> Field:
    """Union over a sliding window along `dim`."""
    reach = (kernel - 1) * dilation + 1
    beyond = (outputs - 1) * stride + reach - field.row.shape[dim] - padding
    field = extended(field, dim, padding, beyond)
    windows = [edge.unfold(dim, reach, stride) for edge in field[:4]]
    return placed_along(dim, [window[..., ::dilation].amin(-1) for window in windows], field)


def line_window(field: Field, kernel: int, sizes: Sequence[int], outputs: int) -> Field:
    """Union over a window along a line of tokens or channels, which keep their places.

    `sizes` are stride, padding and dilation.
    """
    stride, padding, dilation = sizes
    reach = (kernel - 1) * dilation + 1
    beyond = (outputs - 1) * stride + reach - field.row.shape[-1] - padding
    windows = [part.unfold(-1, reach, stride) for part in extended(field, -1, padding, beyond)]
    edges = [part[..., ::dilation].amin(-1) for part in windows[:4]]
    return Field._make([*edges, *(part[..., reach // 2] for part in windows[4:])])


def transposed_window(
    field: Field, dim: int, kernel: int, stride: int, padding: int, dilation: int, outputs: int
) -> Field:
    """A window of stride 1 over the map with `stride - 1` empty places put between its features."""
    spread = (kernel - 1) * dilation
    length = field.row.shape[dim]
    before = math.ceil(spread / stride)
    after = max(0, (padding + outputs - 1) // stride + 1 - length)
    places = torch.arange(before + length + after) * stride + spread
    start = before * stride + padding

    def spaced(edge: Tensor) -> Tensor:
        shape = list(edge.shape)
        shape[dim] = max(int(places[-1]) + 1, start + outputs + spread)
        apart = torch.full(shape, NOWHERE, dtype=edge.dtype).index_copy(dim, places, edge)
        return apart.narrow(dim, start, outputs + spread)

    edges = extended(field, dim, before, after)[:4]
    windows = [spaced(edge).unfold(dim, spread + 1, 1) for edge in edges]
    return placed_along(dim, [window[..., ::dilation].amin(-1) for window in windows], field)


def slide(
    field: Field, output: Tensor, *sizes: Sequence[int], along: Callable[..., Field]
) -> Field:
    """Windows along both axes; `sizes` are kernel, stride, padding and dilation."""
    channels = field.row.shape[:-2]
    field = field.map(lambda part: compact(part, ROWS, COLUMNS))
    for dim, *axis_sizes in zip((ROWS, COLUMNS), *sizes, strict=True):
        field = along(field, dim, *axis_sizes, output.shape[dim])
    return field.map(lambda part: part.expand(*channels, *output.shape[-2:]))


def placed_along(dim: int, edges: Sequence[Tensor], field: Field) -> Field:
    """What windows along `dim` make of `field`, `placed`.

    Along an axis of one place elements keep theirs: the rows of a map may lie in the batch.
    """
    kept = [place.narrow(dim, 0, 1) for place in field[4:]]
    numbered, shape = placed(edges), edges[0].shape
    row = numbered.row if shape[ROWS] > 1 else kept[0]
    column = numbered.column if shape[COLUMNS] > 1 else kept[1]
    return numbered._replace(row=row, column=column)


def placed(edges: Sequence[Tensor]) -> Field:
    """A field whose elements are numbered by their place in the map."""
    shape = edges[0].shape
    row = torch.arange(shape[ROWS], dtype=torch.float64)[:, None].expand(shape)
    column = torch.arange(shape[COLUMNS], dtype=torch.float64).expand(shape)
    return Field._make([*edges, row, column])
