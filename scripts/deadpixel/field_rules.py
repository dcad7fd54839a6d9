"""How each ATen operation acts on receptive fields.

Beside every tensor that depends on the image travels a `Field` of the same shape: for each element
the first and last input row and column it can depend on. Views and concatenations act on the field
as they act on the tensor, a convolution takes the union over its window and channels, and so on;
residual, dense, inception and shuffle topologies need no rule of their own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from .errors import InputError

aten = torch.ops.aten
ROWS, COLUMNS = -2, -1
NOWHERE, EVERYWHERE = math.inf, -math.inf
UNKNOWN = -1e300  # beyond every position, so that it wins each union but that with EVERYWHERE


class UnknownFieldError(InputError):
    """A receptive field that cannot be told: of an operation without a rule, or of tiny maps."""


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


def image_field(input_size: tuple[int, int]) -> Field:
    """Field of the image itself: each pixel depends on its own position."""
    height, width = input_size
    row = torch.arange(height, dtype=torch.float64)[:, None].expand(1, 3, height, width)
    column = torch.arange(width, dtype=torch.float64).expand(1, 3, height, width)
    return Field(row, -row, column, -column, row, column)


@dataclass(frozen=True)
class Call:
    """One operation as a rule sees it."""

    func: Any
    args: tuple
    kwargs: dict
    fields: WeakIdKeyDictionary
    outputs: list[Tensor]

    def field(self, tensor: Tensor) -> Field:
        """Field of an input; a tensor without one does not depend on the image."""
        field = self.fields.get(tensor)
        return constant(tensor.shape, NOWHERE) if field is None else field

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument by its name in the operation's schema; `default` if it has none such."""
        for position, declared in enumerate(self.func._schema.arguments):
            if declared.name == name:
                given = self.args[position : position + 1]
                return given[0] if given else self.kwargs.get(name, declared.default_value)
        return default


def propagate(
    func: Any,
    args: tuple,
    kwargs: dict,
    tracked: list[Tensor],
    outputs: list[Tensor],
    fields: WeakIdKeyDictionary,
) -> list[Field]:
    """Fields of the first outputs of one operation, whose `tracked` inputs depend on the image.

    Raises `UnknownFieldError` if there is no rule for it.
    """
    packet, pointwise = func.overloadpacket, torch.Tag.pointwise in func.tags
    if outputs and (pointwise or packet in ALSO_POINTWISE):
        return [union([fields[tensor] for tensor in tracked], outputs[0].shape)]
    rule = RULES.get(packet)
    if rule is None:
        raise UnknownFieldError(
            f"the receptive field of operation {func} is not known; choose a target before it"
        )
    main = tree_leaves(args[0])
    if rule not in (_matrix_product, _copied) and any(
        all(tensor is not operand for operand in main) for tensor in tracked
    ):
        raise UnknownFieldError(
            f"operation {func} is not known with weights, statistics or indices that are computed "
            "from the image"
        )
    return rule(Call(func, args, kwargs, fields, outputs))


def constant(shape: Sequence[int], position: float) -> Field:
    """Field of a tensor that depends on the image `NOWHERE`, `EVERYWHERE` or who knows where."""
    edge = torch.full((1,) * len(shape), position, dtype=torch.float64).expand(shape)
    return Field(edge, edge, edge, edge, *[torch.zeros_like(edge[:1]).expand(shape)] * 2)


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


def span(place: Tensor, field: Field, dims: Sequence[int]) -> Tensor:
    """How far the outermost places along `dims` are apart, of elements that depend on the image."""
    somewhere, place = compact(field.first_row) != NOWHERE, compact(place)
    high = torch.where(somewhere, place, -math.inf).amax(dims, keepdim=True)
    low = torch.where(somewhere, place, math.inf).amin(dims, keepdim=True)
    return (high - low).clamp(min=0)


def varies(field: Field, dim: int) -> bool:
    """Whether `dim` is one of space, and not of channels."""
    return any(bool((span(place, field, [dim]) > 0).any()) for place in field[4:])


def _reduced(field: Field, dims: Sequence[int], *, far: float = 0.5) -> Field:
    """Union over `dims`, kept with size 1: the whole image where they run through a map.

    Places less than `far` of the map apart are neighbours, as after a space-to-depth, and keep to
    themselves; a part of each region of the map is always further apart than that.
    """
    for dim in dims:
        field = _reduced_along(field, dim, far)
    return field


def _reduced_along(field: Field, dim: int, far: float) -> Field:
    everything = list(range(field.row.ndim))
    through = []
    for place in field[4:]:
        here, whole = span(place, field, [dim]), span(place, field, everything)
        through.append((here > 0) & (here >= far * whole))
    nowhere = compact(field.first_row) == NOWHERE

    def reduce(edge: Tensor) -> Tensor:
        edge = compact(edge)
        union = edge.amin(dim, keepdim=True)
        differs = edge.masked_fill(edge == NOWHERE, -math.inf).amax(dim, keepdim=True) > union
        return torch.where((through[0] | through[1]) & differs, EVERYWHERE, union)

    def number(place: Tensor, through: Tensor) -> Tensor:
        first = torch.where(nowhere, math.inf, compact(place)).amin(dim, keepdim=True)
        return torch.where(through | first.isinf(), 0.0, first)

    shape = list(field.row.shape)
    shape[dim] = 1
    reduced = Field(*map(reduce, field[:4]), *map(number, field[4:], through))
    return reduced.map(lambda part: part.expand(shape))


def _extended(field: Field, dim: int, before: int, after: int) -> Field:
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
    """After how many steps along `dim` the pattern of `edges` recurs, all moved on alike; or 0.

    It is 1 but for maps that were enlarged, whose features are not all alike.
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


def _window(
    field: Field, dim: int, kernel: int, stride: int, padding: int, dilation: int, outputs: int
) -> Field:
    """Union over a sliding window along `dim`."""
    span = (kernel - 1) * dilation + 1
    beyond = (outputs - 1) * stride + span - field.row.shape[dim] - padding
    field = _extended(field, dim, padding, beyond)
    return _placed([edge.unfold(dim, span, stride)[..., ::dilation].amin(-1) for edge in field[:4]])


def _transposed_window(
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

    edges = _extended(field, dim, before, after)[:4]
    windows = [spaced(edge).unfold(dim, spread + 1, 1) for edge in edges]
    return _placed([window[..., ::dilation].amin(-1) for window in windows])


def _slide(
    field: Field, output: Tensor, *sizes: Sequence[int], along: Callable[..., Field]
) -> Field:
    """Windows along both axes; `sizes` are kernel, stride, padding and dilation."""
    channels = field.row.shape[:-2]
    field = field.map(lambda part: compact(part, ROWS, COLUMNS))
    for dim, *axis_sizes in zip((ROWS, COLUMNS), *sizes, strict=True):
        field = along(field, dim, *axis_sizes, output.shape[dim])
    return field.map(lambda part: part.expand(*channels, *output.shape[-2:]))


def _placed(edges: Sequence[Tensor]) -> Field:
    """A field whose elements are numbered by their place in the map."""
    shape = edges[0].shape
    row = torch.arange(shape[ROWS], dtype=torch.float64)[:, None].expand(shape)
    column = torch.arange(shape[COLUMNS], dtype=torch.float64).expand(shape)
    return Field(*edges, row, column)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1])


def _convolution(call: Call) -> list[Field]:
    source, weight, output = call.argument("input"), call.argument("weight"), call.outputs[0]
    if source.ndim != 4:
        raise UnknownFieldError(f"operation {call.func} is known in two dimensions only")
    sizes = [_pair(call.argument(name)) for name in ("stride", "padding", "dilation")]
    along = _transposed_window if call.argument("transposed") else _window
    groups = call.argument("groups")
    each = output.shape[1] // groups
    field = call.field(source).map(lambda part: part.unflatten(1, (groups, -1)))
    field = _reduced(field, [2]).map(lambda part: part.squeeze(2))
    field = _slide(field, output, weight.shape[2:], *sizes, along=along)
    return [field.map(lambda part: part.unsqueeze(2).expand(-1, -1, each, -1, -1).flatten(1, 2))]


def _pool(call: Call) -> list[Field]:
    kernel = _pair(call.argument("kernel_size"))
    stride = _pair(call.argument("stride") or kernel)
    padding = _pair(call.argument("padding"))
    dilation = _pair(call.argument("dilation", 1))
    field = call.field(call.args[0])
    return [_slide(field, call.outputs[0], kernel, stride, padding, dilation, along=_window)]


def _padded(call: Call) -> list[Field]:
    """Padding with anything counts as zeros would: reflected pixels are in the padding too."""
    field, pad = call.field(call.args[0]), call.argument("pad") or call.argument("padding")
    for axis, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dim = -1 - axis
        if varies(field, dim) or (axis < 2 and field.row.shape[dim] == 1):
            field = _extended(field, dim, before, after)
        else:  # new channels depend on nothing
            sizes = [0, 0] * axis + [before, after]
            edges = [functional.pad(edge, sizes, value=NOWHERE) for edge in field[:4]]
            field = Field(*edges, *(functional.pad(place, sizes) for place in field[4:]))
    return [field]


def _resample(call: Call) -> list[Field]:
    """Adaptive pooling and interpolation: the window of each output is read off a unit impulse."""
    field, source, output = call.field(call.args[0]), call.args[0], call.outputs[0]
    for dim, scale in ((ROWS, "scales_h"), (COLUMNS, "scales_w")):
        before, after = source.shape[dim], output.shape[dim]
        if before == 1:
            field = _single(field, dim).map(
                lambda part, n=after, d=dim: part.repeat_interleave(n, d)
            )
        elif after == 1:
            field = _reduced(field, [dim])
        elif after != before or call.argument(scale):
            field = _resampled(call, field, dim, call.argument(scale))
    return [field]


def _single(field: Field, dim: int) -> Field:
    """A map of one place: how it would go on, or whether it is the whole image, cannot be told."""
    first, last = (0, 1) if dim == ROWS else (2, 3)
    parts = list(field)
    for part in (first, last):
        parts[part] = torch.where(field[part].isinf(), field[part], UNKNOWN)
    return Field(*parts)


def _resampled(call: Call, field: Field, dim: int, scale: float | None) -> Field:
    before, after = call.args[0].shape[dim], call.outputs[0].shape[dim]
    aligned = call.argument("align_corners")
    if aligned is False and scale and not math.isclose(before * scale, after):
        raise UnknownFieldError(
            f"the receptive field of {call.func} by {scale} is not known for a map of {before} "
            "pixels; choose an input size that makes it whole"
        )
    border = (0, 0)
    if aligned is not None:  # a border to read what lies beyond the map, as in the midst of one
        unit, outputs = (before - 1, after - 1) if aligned else (before, after)
        common = math.gcd(unit, outputs)
        times = math.ceil(2 * common / unit)
        border = (times * unit // common, times * outputs // common)
    windows = _impulse_windows(call, dim, before + 2 * border[0], after + 2 * border[1])
    windows = windows[border[1] : border[1] + after]
    edges = _extended(field, dim, border[0], border[0])[:4]
    return _placed([_gathered(edge, dim, windows) for edge in edges])


def _impulse_windows(call: Call, dim: int, length: int, outputs: int) -> list[Tensor]:
    impulses = torch.eye(length, dtype=torch.float64)[:, None, :, None]
    sizes = [outputs, 1]
    if dim == COLUMNS:
        impulses, sizes = impulses.mT, sizes[::-1]
    response = call.func(impulses, sizes, *call.args[2:], **call.kwargs)
    response = response[0] if isinstance(response, tuple) else response
    reached = response.flatten(1) != 0  # input place x output place
    return [reached[:, place].nonzero().flatten() for place in range(outputs)]


def _gathered(edge: Tensor, dim: int, windows: Sequence[Tensor]) -> Tensor:
    return torch.stack([edge.index_select(dim, window).amin(dim) for window in windows], dim)


def _rearranged(call: Call) -> list[Field]:
    """Slices, permutations, concatenations: what happens to the tensor happens to its field."""
    operands = call.args[0] if isinstance(call.args[0], (list, tuple)) else [call.args[0]]
    operand_fields = [call.field(tensor) for tensor in operands]
    if call.func.overloadpacket is aten.cat and any(
        field.row.ndim > 1 and varies(field, call.argument("dim")) for field in operand_fields
    ):  # a margin that is no padding operation: how the map goes on there cannot be told
        unknown = [constant(field.row.shape, UNKNOWN) for field in operand_fields]
        operand_fields = [
            field if bool((field.first_row != NOWHERE).any()) else margin
            for field, margin in zip(operand_fields, unknown, strict=True)
        ]

    def rearrange(part: int) -> list[Tensor]:
        parts = [field[part] for field in operand_fields]
        first = parts[0] if isinstance(call.args[0], Tensor) else parts
        return tree_leaves(call.func(first, *call.args[1:], **call.kwargs))

    return [Field(*parts) for parts in zip(*map(rearrange, range(len(Field._fields))), strict=True)]


def _reshaped(call: Call) -> list[Field]:
    shape = call.outputs[0].shape
    return [call.field(call.args[0]).map(lambda part: part.reshape(shape))]


def _restrided(call: Call) -> list[Field]:
    """How PyTorch marks a globally pooled map as channels-last."""
    tensor = call.outputs[0]
    if tensor.shape[2:] != (1, 1) or not tensor.is_contiguous():
        raise UnknownFieldError(f"operation {call.func} to another order is not known")
    return [call.field(tensor)]


def _copied(call: Call) -> list[Field]:
    shape = call.outputs[0].shape
    return [call.field(call.args[1]).map(lambda part: part.expand(shape))]


def _independent(call: Call) -> list[Field]:
    """Only the shape of the input counts."""
    return [constant(call.outputs[0].shape, NOWHERE)]


def _batch_norm(call: Call) -> list[Field]:
    field = call.field(call.args[0])
    if call.argument("training"):  # instance normalisation comes this way
        return [_with_statistics(field, [0, *range(2, call.args[0].ndim)])]
    return [field]


def _with_statistics(field: Field, dims: Sequence[int]) -> Field:
    return union([field, _reduced(field, dims)], field.row.shape)


def _layer_norm(call: Call) -> list[Field]:
    dims = [-1 - i for i in range(len(call.argument("normalized_shape")))]
    return [_with_statistics(call.field(call.args[0]), dims)]


def _group_norm(call: Call) -> list[Field]:
    shape, groups = call.args[0].shape, call.argument("group")
    field = call.field(call.args[0]).map(lambda part: part.unflatten(1, (groups, -1)))
    field = _with_statistics(field, list(range(2, len(shape) + 1)))
    return [field.map(lambda part: part.flatten(1, 2))]


def _softmax(call: Call) -> list[Field]:
    return [_with_statistics(call.field(call.args[0]), [call.argument("dim")])]


def _reduction(call: Call) -> list[Field]:
    source = call.args[0]
    dims = call.argument("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(source.ndim))
    field, shape = call.field(source), call.outputs[0].shape
    for dim in (ROWS, COLUMNS):
        if source.ndim == 4 and source.shape[dim] == 1 and {dim, dim + 4} & {*dims}:
            field = _single(field, dim)
    field = _reduced(field, dims)
    return [field.map(lambda part: part.reshape(shape))] * len(call.outputs)


def _matrix_product(call: Call) -> list[Field]:
    *bias, left, right = call.args[:3] if "add" in str(call.func) else call.args[:2]
    # of two maps the second weighs the places of the first: none keeps to its neighbourhood
    far = 0.0 if left in call.fields and right in call.fields else 0.5
    rows = _reduced(call.field(left), [-1], far=far)
    columns = _reduced(call.field(right), [-2], far=far)
    shape = call.outputs[0].shape
    product = union([rows, columns], shape)
    # a product of two maps (attention) has a place for every pair of places
    numbered = [
        a + (b - b.amin()) * (a.amax() + 1) for a, b in zip(rows[4:], columns[4:], strict=True)
    ]
    product = Field(*product[:4], *(place.expand(shape) for place in numbered))
    return [union([product, *(call.field(tensor) for tensor in bias)], shape)]


_REARRANGEMENTS = [
    *(aten.permute, aten.transpose, aten.t, aten.expand, aten.squeeze, aten.unsqueeze, aten.slice),
    *(aten.select, aten.split, aten.split_with_sizes, aten.unbind, aten.cat, aten.stack, aten.roll),
    *(aten.flip, aten.repeat, aten.index, aten.index_select, aten.alias, aten.detach),
    *(aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle, aten.native_channel_shuffle),
]
_RESAMPLINGS = [
    *(aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d, aten.upsample_nearest2d),
    *(aten._upsample_nearest_exact2d, aten.upsample_bilinear2d, aten.upsample_bicubic2d),
]
_REDUCTIONS = [
    *(aten.mean, aten.sum, aten.amax, aten.amin, aten.max, aten.min, aten.var, aten.std, aten.prod),
    *(aten.linalg_vector_norm, aten.var_mean, aten.logsumexp),
]
_INDEPENDENT = [
    *(aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.rand_like),
    *(aten.randn_like, aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty),
]
ALSO_POINTWISE = frozenset(
    [aten.hardswish, aten.hardswish_, aten.prelu, aten._prelu_kernel, aten.clone, aten._to_copy]
)
RULES: dict[Any, Callable[[Call], list[Field]]] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _pool,
    aten.avg_pool2d: _pool,
    aten.native_batch_norm: _batch_norm,
    aten.native_layer_norm: _layer_norm,
    aten.native_group_norm: _group_norm,
    aten._softmax: _softmax,
    aten._safe_softmax: _softmax,
    aten._log_softmax: _softmax,
    **dict.fromkeys([aten.constant_pad_nd, aten.reflection_pad2d, aten.replication_pad2d], _padded),
    **dict.fromkeys([aten.mm, aten.addmm, aten.bmm, aten.baddbmm], _matrix_product),
    aten.as_strided_: _restrided,
    aten.copy_: _copied,
    **dict.fromkeys([aten.view, aten._unsafe_view], _reshaped),
    **dict.fromkeys(_REARRANGEMENTS, _rearranged),
    **dict.fromkeys(_RESAMPLINGS, _resample),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(_INDEPENDENT, _independent),
}
