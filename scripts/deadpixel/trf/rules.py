"""How each ATen operation acts on receptive fields.

Views and concatenations act on the field as they act on the tensor, a convolution takes the union
over its window and channels, and so on; residual, dense, inception and shuffle topologies need no
rule of their own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from .algebra import (
    COLUMNS,
    EVERYWHERE,
    NOWHERE,
    ROWS,
    UNKNOWN,
    Field,
    UnknownFieldError,
    compact,
    constant,
    extended,
    line_window,
    placed,
    placed_along,
    slide,
    transposed_window,
    union,
    varies,
    window,
)
from .attention import FILLING, matrix_product, scaled_dot_product, softmax, with_statistics
from .call import Call

aten = torch.ops.aten


def propagate(call: Call, tracked: list[Tensor]) -> list[Field]:
    """Fields of the first outputs of one operation, whose `tracked` inputs depend on the image.

    Raises `UnknownFieldError` if there is no rule for it.
    """
    packet, outputs = call.func.overloadpacket, call.outputs
    if outputs and (torch.Tag.pointwise in call.func.tags or packet in ALSO_POINTWISE):
        return [_pointwise(call, tracked)]
    main = {id(leaf) for leaf in tree_leaves(call.args[0])} if call.args else set()
    others = [tensor for tensor in tracked if id(tensor) not in main]
    if (
        packet in DATA_DECIDED
        or str(packet) in DATA_DECIDED_BEYOND
        or (packet in INDEXED and others)
    ):
        return _decided_by_data(call, others)
    rule = RULES.get(packet)
    if rule is None or not outputs:
        raise UnknownFieldError(
            f"the receptive field of operation {call.func} is not known; choose a target before it"
        )
    found = rule(call)
    if others and rule not in OF_SEVERAL:
        found = [_with_parameters(call, field, others) for field in found]
    return found


def _pointwise(call: Call, tracked: list[Tensor]) -> Field:
    shape, packet = call.outputs[0].shape, call.func.overloadpacket
    if packet is aten.where and len(call.args) == 3 and call.args[0] not in call.fields:
        kept, other = (
            call.field(part) if isinstance(part, Tensor) else constant(shape, NOWHERE)
            for part in call.args[1:]
        )
        return _chosen(call.args[0], kept, other)
    if packet in FILLING and call.args[1] not in call.fields:
        value = call.args[2]
        filled = call.field(value) if isinstance(value, Tensor) else constant(shape, NOWHERE)
        return _chosen(call.args[1], filled, call.field(call.args[0]))
    return union([call.fields[tensor] for tensor in tracked], shape)


def _chosen(mask: Tensor, chosen: Field, other: Field) -> Field:
    """Element by element, by a mask that is a constant."""
    edges = [torch.where(mask, a, b) for a, b in zip(chosen[:4], other[:4], strict=True)]
    places = [torch.maximum(a, b) for a, b in zip(chosen[4:], other[4:], strict=True)]
    shape = torch.broadcast_shapes(mask.shape, other.row.shape, chosen.row.shape)
    return Field._make([*edges, *places]).map(lambda part: part.expand(shape))


def _decided_by_data(call: Call, indices: Sequence[Tensor]) -> list[Field]:
    """Reads from places that the image itself chooses: somewhere in it is all that can be said."""
    if any(index.dtype == torch.bool for index in indices):
        raise UnknownFieldError(
            f"the receptive field of operation {call.func} with a mask that depends on the image "
            "is not known; choose a target before it"
        )
    call.bounds.append(f"data decide what {call.func} reads")
    return [constant(call.outputs[0].shape, EVERYWHERE)]


def _with_parameters(call: Call, field: Field, parameters: Sequence[Tensor]) -> Field:
    """Weights, statistics or biases made from the image: each may count wherever it is used."""
    edges = [*field[:4]]
    for parameter in parameters:
        own = [compact(edge) for edge in call.fields[parameter][:4]]
        if any(bool((edge != edge.min()).any()) for edge in own):
            call.bounds.append(f"{call.func} has parameters that the image decides")
        edges = [torch.minimum(a, b.min()) for a, b in zip(edges, own, strict=True)]
    return Field._make([*edges, *field[4:]])


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1])


def _convolution(call: Call) -> list[Field]:
    source, weight, output = call.argument("input"), call.argument("weight"), call.outputs[0]
    transposed = call.argument("transposed")
    if source.ndim > 4 or (source.ndim == 3 and transposed):
        raise UnknownFieldError(
            f"the receptive field of {call.func} is not known for {source.ndim - 2} dimensions"
        )
    sizes = [_pair(call.argument(name)) for name in ("stride", "padding", "dilation")]
    groups = call.argument("groups")
    each = output.shape[1] // groups
    field = call.field(source).map(lambda part: part.unflatten(1, (groups, -1)))
    field = call.reduced(field, [2]).map(lambda part: part.squeeze(2))
    if source.ndim == 3:
        field = line_window(field, weight.shape[2], [size[0] for size in sizes], output.shape[2])
    else:
        along = transposed_window if transposed else window
        field = slide(field, output, weight.shape[2:], *sizes, along=along)
    return [field.map(lambda part: _each_of_group(part, each))]


def _each_of_group(part: Tensor, each: int) -> Tensor:
    return part.unsqueeze(2).expand(*part.shape[:2], each, *part.shape[2:]).flatten(1, 2)


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
            field = call.reduced(field, [dim])
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
    return placed_along(dim, [_gathered(edge, dim, windows) for edge in edges], field)


def _impulse_windows(call: Call, dim: int, length: int, outputs: int) -> list[Tensor]:
    impulses = torch.eye(length, dtype=torch.float64)[:, None, :, None].expand(-1, -1, -1, 2)
    sizes = [outputs, 2]  # one place across would confuse PyTorch's layouts
    if dim == COLUMNS:
        impulses, sizes = impulses.mT, sizes[::-1]
    response = call.func(impulses.contiguous(), sizes, *call.args[2:], **call.kwargs)
    response = response[0] if isinstance(response, tuple) else response
    reached = response.amax(ROWS if dim == COLUMNS else COLUMNS).flatten(1) != 0
    return [reached[:, place].nonzero().flatten() for place in range(outputs)]


def _gathered(edge: Tensor, dim: int, windows: Sequence[Tensor]) -> Tensor:
    return torch.stack([edge.index_select(dim, part).amin(dim) for part in windows], dim)


def _rearranged(call: Call) -> list[Field]:
    """Slices, permutations, concatenations: what happens to the tensor happens to its field."""
    operands = call.args[0] if isinstance(call.args[0], (list, tuple)) else [call.args[0]]
    operand_fields = [call.field(tensor) for tensor in operands]
    if call.func.overloadpacket is aten.cat and any(  # of maps, not of a class token and others
        field.row.ndim == 4 and varies(field, call.argument("dim")) for field in operand_fields
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


def _filled(call: Call) -> list[Field]:
    """With a constant: what was there no longer counts."""
    return [constant(call.outputs[0].shape, NOWHERE)]


def _batch_norm(call: Call) -> list[Field]:
    field = call.field(call.args[0])
    if call.argument("training"):  # instance normalisation comes this way
        return [with_statistics(call, field, [0, *range(2, call.args[0].ndim)])]
    return [field]


def _layer_norm(call: Call) -> list[Field]:
    dims = [-1 - i for i in range(len(call.argument("normalized_shape")))]
    return [with_statistics(call, call.field(call.args[0]), dims)]


def _group_norm(call: Call) -> list[Field]:
    shape, groups = call.args[0].shape, call.argument("group")
    field = call.field(call.args[0]).map(lambda part: part.unflatten(1, (groups, -1)))
    field = with_statistics(call, field, list(range(2, len(shape) + 1)))
    return [field.map(lambda part: part.flatten(1, 2))]


def _reduction(call: Call) -> list[Field]:
    source = call.args[0]
    dims = call.argument("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(source.ndim))
    field, shape = call.field(source), call.outputs[0].shape
    for dim in (ROWS, COLUMNS):
        if source.ndim == 4 and source.shape[dim] == 1 and {dim, dim + 4} & {*dims}:
            field = _single(field, dim)
    field = call.reduced(field, dims)
    return [field.map(lambda part: part.reshape(shape))] * len(call.outputs)


def _along_dimension(call: Call) -> list[Field]:
    """Each element may be any of those along the dimension: sorted, or the k largest."""
    dim = call.argument("dim")
    field = call.reduced(call.field(call.args[0]), [dim])
    return [field.map(lambda part: part.expand(call.outputs[0].shape))]


def _cumulative(call: Call) -> list[Field]:
    """Each element depends on those before it."""
    field, dim = call.field(call.args[0]), call.argument("dim")
    edges = [edge.cummin(dim).values for edge in field[:4]]
    return [Field._make([*edges, *field[4:]])]


def _fourier(call: Call) -> list[Field]:
    dims = call.argument("dim")
    field = call.reduced(call.field(call.args[0]), dims)
    return [field.map(lambda part: part.expand(call.outputs[0].shape))]


def _real_and_imaginary(call: Call) -> list[Field]:
    shape = call.outputs[0].shape
    return [call.field(call.args[0]).map(lambda part: part.unsqueeze(-1).expand(shape))]


def _halves(call: Call) -> list[Field]:
    """Of gated linear units one half weighs the other."""
    dim = call.argument("dim")
    halves = [part.chunk(2, dim) for part in call.field(call.args[0])]
    pair = [Field(*parts) for parts in zip(*halves, strict=True)]
    return [union(pair, call.outputs[0].shape)]


def _patches(call: Call) -> list[Field]:
    """Windows laid out as channels: (N, C, H, W) to (N, C kh kw, places)."""
    kernel, stride, padding, dilation = _geometry(call)
    field = call.field(call.args[0])
    for axis, dim in enumerate((ROWS, COLUMNS)):
        field = extended(field, dim, padding[axis], padding[axis])
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]

    def windows(part: Tensor) -> Tensor:
        for axis, dim in enumerate((2, 3)):
            part = part.unfold(dim, reach[axis], stride[axis])[..., :: dilation[axis]]
        return part.permute(0, 1, 4, 5, 2, 3).reshape(call.outputs[0].shape)

    return [field.map(windows)]


def _overlapped(call: Call) -> list[Field]:
    """Windows laid out as channels, added up where they lie in the map."""
    kernel, stride, padding, dilation = _geometry(call)
    height, width = call.outputs[0].shape[-2:]
    size = height + 2 * padding[0], width + 2 * padding[1]
    ranges = zip(size, kernel, dilation, stride, strict=True)
    counts = [(length - (k - 1) * d - 1) // s + 1 for length, k, d, s in ranges]
    edges = []
    for edge in call.field(call.args[0])[:4]:
        windows = edge.unflatten(1, (-1, *kernel)).unflatten(-1, counts)
        total = torch.full((*windows.shape[:2], *size), NOWHERE, dtype=edge.dtype)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                rows = slice(i * dilation[0], i * dilation[0] + counts[0] * stride[0], stride[0])
                columns = slice(j * dilation[1], j * dilation[1] + counts[1] * stride[1], stride[1])
                part = total[:, :, rows, columns]
                part.copy_(torch.minimum(part, windows[:, :, i, j]))
        edges.append(total[:, :, padding[0] :, padding[1] :][:, :, :height, :width])
    return [placed(edges)]


def _geometry(call: Call) -> list[tuple[int, int]]:
    names = ("kernel_size", "stride", "padding", "dilation")
    return [_pair(call.argument(name)) for name in names]


_REARRANGEMENTS = [
    *(aten.permute, aten.transpose, aten.t, aten.expand, aten.squeeze, aten.unsqueeze, aten.slice),
    *(aten.select, aten.split, aten.split_with_sizes, aten.unbind, aten.cat, aten.stack, aten.roll),
    *(aten.flip, aten.repeat, aten.index, aten.index_select, aten.gather, aten.alias, aten.detach),
    *(aten.unfold, aten.diagonal, aten.unsafe_split),
    *(aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle, aten.native_channel_shuffle),
]
_RESAMPLINGS = [
    *(aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d, aten.upsample_nearest2d),
    *(aten._upsample_nearest_exact2d, aten.upsample_bilinear2d, aten.upsample_bicubic2d),
    *(aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa),
]
_REDUCTIONS = [
    *(aten.mean, aten.sum, aten.amax, aten.amin, aten.max, aten.min, aten.var, aten.std, aten.prod),
    *(aten.linalg_vector_norm, aten.var_mean, aten.std_mean, aten.logsumexp, aten.kthvalue),
    *(aten.argmax, aten.argmin, aten.any, aten.all),
]
# Only the shape of what they are given counts.
INDEPENDENT = frozenset(
    [
        *(aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.rand_like),
        *(aten.randn_like, aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty),
        aten.new_empty_strided,
    ]
)
ALSO_POINTWISE = frozenset(
    [
        *(aten.hardswish, aten.hardswish_, aten.prelu, aten._prelu_kernel, aten.clone),
        *(aten._to_copy, aten.log_sigmoid_forward, aten.masked_fill_, aten.rsub, aten.complex),
        *(aten.polar, aten._conj),
    ]
)
_ATTENTIONS = [
    *(aten._scaled_dot_product_flash_attention_for_cpu, aten._scaled_dot_product_flash_attention),
    *(aten._scaled_dot_product_efficient_attention, aten._scaled_dot_product_cudnn_attention),
    aten._scaled_dot_product_fused_attention_overrideable,
]
# What they read from the first operand is fixed unless the indices depend on the image.
INDEXED = frozenset([aten.index, aten.index_select, aten.gather])
# Where the image is read is not fixed, or follows no simple arithmetic.
DATA_DECIDED = frozenset(
    [
        *(aten.grid_sampler_2d, aten.cudnn_grid_sampler, aten.embedding, aten.take),
        *(aten.scatter, aten.scatter_add, aten.scatter_reduce, aten.index_add, aten.index_put),
        aten.index_copy,
    ]
)
# Of libraries that need not be there, by name.
DATA_DECIDED_BEYOND = frozenset(["torchvision.deform_conv2d", "torchvision.roi_align"])
OF_SEVERAL = (matrix_product, scaled_dot_product, _copied)
RULES: dict[Any, Callable[[Call], list[Field]]] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _pool,
    aten.avg_pool2d: _pool,
    aten.native_batch_norm: _batch_norm,
    **dict.fromkeys([aten.native_layer_norm, aten._fused_rms_norm], _layer_norm),
    aten.native_group_norm: _group_norm,
    **dict.fromkeys([aten._softmax, aten._safe_softmax, aten._log_softmax], softmax),
    **dict.fromkeys(_ATTENTIONS, scaled_dot_product),
    **dict.fromkeys([aten.sort, aten.topk], _along_dimension),
    **dict.fromkeys([aten.cumsum, aten.cumprod, aten.logcumsumexp], _cumulative),
    **dict.fromkeys([aten._fft_r2c, aten._fft_c2c, aten._fft_c2r], _fourier),
    aten.view_as_real: _real_and_imaginary,
    aten.glu: _halves,
    aten.im2col: _patches,
    aten.col2im: _overlapped,
    **dict.fromkeys([aten.constant_pad_nd, aten.reflection_pad2d, aten.replication_pad2d], _padded),
    **dict.fromkeys([aten.mm, aten.addmm, aten.bmm, aten.baddbmm], matrix_product),
    aten.as_strided_: _restrided,
    aten.copy_: _copied,
    **dict.fromkeys([aten.view, aten._unsafe_view], _reshaped),
    **dict.fromkeys(_REARRANGEMENTS, _rearranged),
    **dict.fromkeys(_RESAMPLINGS, _resample),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys([aten.fill, aten.fill_, aten.zero_], _filled),
}
