"""How each ATen operation acts on receptive fields.

Views and concatenations act on the field as they act on the tensor, a convolution takes the union
over its window and channels, and so on; residual, dense, inception and shuffle topologies need no
rule of their own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from .algebra import (
    COLUMNS,
    NOWHERE,
    ROWS,
    UNKNOWN,
    Field,
    UnknownFieldError,
    constant,
    extended,
    placed,
    reduced,
    slide,
    transposed_window,
    union,
    varies,
    window,
)

aten = torch.ops.aten


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


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1])


def _convolution(call: Call) -> list[Field]:
    source, weight, output = call.argument("input"), call.argument("weight"), call.outputs[0]
    if source.ndim != 4:
        raise UnknownFieldError(f"operation {call.func} is known in two dimensions only")
    sizes = [_pair(call.argument(name)) for name in ("stride", "padding", "dilation")]
    along = transposed_window if call.argument("transposed") else window
    groups = call.argument("groups")
    each = output.shape[1] // groups
    field = call.field(source).map(lambda part: part.unflatten(1, (groups, -1)))
    field = reduced(field, [2]).map(lambda part: part.squeeze(2))
    field = slide(field, output, weight.shape[2:], *sizes, along=along)
    return [field.map(lambda part: part.unsqueeze(2).expand(-1, -1, each, -1, -1).flatten(1, 2))]


def _pool(call: Call) -> list[Field]:
    kernel = _pair(call.argument("kernel_size"))
    stride = _pair(call.argument("stride") or kernel)
    padding = _pair(call.argument("padding"))
    dilation = _pair(call.argument("dilation", 1))
    field = call.field(call.args[0])
    return [slide(field, call.outputs[0], kernel, stride, padding, dilation, along=window)]


def _padded(call: Call) -> list[Field]:
    """Padding with anything counts as zeros would: reflected pixels are in the padding too."""
    field, pad = call.field(call.args[0]), call.argument("pad") or call.argument("padding")
    for axis, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dim = -1 - axis
        if varies(field, dim) or (axis < 2 and field.row.shape[dim] == 1):
            field = extended(field, dim, before, after)
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
            field = reduced(field, [dim])
        elif after != before or call.argument(scale):
            field = _resampled(call, field, dim, call.argument(scale))
    return [field]


def _single(field: Field, dim: int) -> Field:
    """A map of one place: how it would go on, or whether it is the whole image, cannot be known."""
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
    edges = extended(field, dim, border[0], border[0])[:4]
    return placed([_gathered(edge, dim, windows) for edge in edges])


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
    return torch.stack([edge.index_select(dim, part).amin(dim) for part in windows], dim)


def _rearranged(call: Call) -> list[Field]:
    """Slices, permutations, concatenations: what happens to the tensor happens to its field."""
    operands = call.args[0] if isinstance(call.args[0], (list, tuple)) else [call.args[0]]
    operand_fields = [call.field(tensor) for tensor in operands]
    if call.func.overloadpacket is aten.cat and any(
        field.row.ndim > 1 and varies(field, call.argument("dim")) for field in operand_fields
    ):  # a margin that is no padding operation: how the map goes on there cannot be known
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
    return union([field, reduced(field, dims)], field.row.shape)


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
    field = reduced(field, dims)
    return [field.map(lambda part: part.reshape(shape))] * len(call.outputs)


def _matrix_product(call: Call) -> list[Field]:
    *bias, left, right = call.args[:3] if "add" in str(call.func) else call.args[:2]
    # of two maps the second weighs the places of the first: none keeps to its neighbourhood
    far = 0.0 if left in call.fields and right in call.fields else 0.5
    rows = reduced(call.field(left), [-1], far=far)
    columns = reduced(call.field(right), [-2], far=far)
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
