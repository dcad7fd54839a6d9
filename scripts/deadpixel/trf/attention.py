"""Products of two maps, softmax and attention, in windows or over all places.

A window needs no rule of its own: its places reach only each other because views, rolls and
permutations have brought them together. A mask hides pairs of places, as in Swin's shifted windows,
where it is a constant of -100 or less that is added to the scores.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .algebra import NOWHERE, Field, compact, union
from .call import Call

aten = torch.ops.aten
MASKED = -100.0  # times less than 1e-43 after softmax: what torchvision and timm add
_DISTINCT = 1e6  # larger numbers of places would soon be rounded
_MASKING = {aten.add, aten.add_}
FILLING = {aten.masked_fill, aten.masked_fill_}
_SHAPING = {aten.view, aten._unsafe_view}
_VIEWS = {
    *(aten.expand, aten.unsqueeze, aten.squeeze, aten.slice, aten.select),
    *(aten.permute, aten.transpose),
}
_KEEPING = {aten._softmax, aten._safe_softmax, aten.clone, aten._to_copy, aten.mul, aten.div}


def hidden_pairs(call: Call) -> Tensor | None:
    """Which elements of the output a mask hides, of the same shape; None if it has no mask."""
    packet, source, shape = call.func.overloadpacket, call.args[0], call.outputs[0].shape
    before = call.hidden.get(source) if isinstance(source, Tensor) else None
    if packet in _SHAPING and before is not None:
        return before.reshape(shape)
    if packet in _VIEWS and before is not None:
        return call.func(before, *call.args[1:], **call.kwargs)
    mask = _mask(call) if packet in _MASKING | FILLING else None
    if mask is not None and (len(shape) < 3 or bool(mask.all()) or not bool(mask.any())):
        mask = None
    if mask is not None:
        mask = mask.expand(shape)
        return mask if before is None else mask | before
    if packet in _MASKING | FILLING | _KEEPING and before is not None:
        return before.expand(shape)
    return None


def _mask(call: Call) -> Tensor | None:
    if call.func.overloadpacket in FILLING:
        mask, value = call.args[1], call.args[2]
        constant = mask not in call.fields
        return mask if constant and isinstance(value, float | int) and value <= MASKED else None
    addends = [t for t in call.args[:2] if isinstance(t, Tensor) and t not in call.fields]
    return addends[0] <= MASKED if addends and addends[0].is_floating_point() else None


def softmax(call: Call) -> list[Field]:
    """Each element depends on all along the dimension, but for those that a mask hides."""
    field, hidden = call.field(call.args[0]), call.hidden.get(call.args[0])
    seen = field if hidden is None else _without(field, hidden)
    return [with_statistics(call, seen, [call.argument("dim")], field)]


def with_statistics(
    call: Call, field: Field, dims: Sequence[int], own: Field | None = None
) -> Field:
    """Elements that also depend on all of `field` along `dims`; `own` is `field` if not given."""
    own = own or field
    merged = union([own, call.reduced(field, dims)], own.row.shape)
    return Field._make([*merged[:4], *own[4:]])


def matrix_product(call: Call) -> list[Field]:
    """Rows of the left factor with columns of the right one, and what is added."""
    *bias, left, right = call.args[:3] if "add" in str(call.func) else call.args[:2]
    shape = call.outputs[0].shape
    product = _product(call, call.field(left), call.field(right), call.hidden.get(left), shape)
    return [union([product, *(call.field(tensor) for tensor in bias)], shape)]


def _product(
    call: Call, left: Field, right: Field, hidden: Tensor | None, shape: torch.Size
) -> Field:
    rows, columns = call.reduced(left, [-1]), call.reduced(right, [-2])
    places = [_numbered(*pair) for pair in zip(rows[4:], columns[4:], strict=True)]
    if hidden is None:
        edges = [*zip(rows[:4], columns[:4], strict=True)]
    else:
        seen = call.reduced(_without(left, hidden), [-1])
        edges = [
            (row, torch.where(hidden[..., None], NOWHERE, compact(edge).unsqueeze(-3)).amin(-2))
            for row, edge in zip(seen[:4], right[:4], strict=True)
        ]
    edges = [torch.minimum(compact(row), compact(column)) for row, column in edges]
    return Field._make([*edges, *places]).map(lambda part: part.expand(shape))


def _numbered(rows: Tensor, columns: Tensor) -> Tensor:
    """A place for every pair of places, that of the row where there is but one column."""
    rows, columns = compact(rows), compact(columns)
    columns = columns - columns.amin(-1, keepdim=True)
    numbers = rows + columns * (rows.amax() + 1)
    if bool(numbers.amax() > _DISTINCT):
        numbers = numbers.unique(return_inverse=True)[1].double()
    return numbers


def _without(field: Field, hidden: Tensor) -> Field:
    edges = [torch.where(hidden, NOWHERE, edge) for edge in field[:4]]
    return Field._make([*edges, *field[4:]])


def scaled_dot_product(call: Call) -> list[Field]:
    """Attention in one operation: queries, keys and values (..., places, channels)."""
    query, key, value = (call.field(tensor) for tensor in call.args[:3])
    shape = call.outputs[0].shape
    bias = call.argument("attn_mask", call.argument("attn_bias"))
    pairs = [*shape[:-1], key.row.shape[-2]]
    hidden = None
    if call.argument("is_causal"):
        hidden = torch.ones(pairs[-2:], dtype=torch.bool).triu(1).expand(pairs)
    elif bias is not None and bias not in call.fields and bool((bias <= MASKED).any()):
        hidden = (bias <= MASKED).expand(pairs)
    if hidden is None:
        parts = [call.reduced(query, [-1]), call.reduced(key, [-2, -1]), call.reduced(value, [-2])]
    else:
        every = torch.Size(pairs)
        scores = _product(call, query, key.map(lambda part: part.mT), None, every)
        scores = with_statistics(call, _without(scores, hidden), [-1], scores)
        parts = [_product(call, scores, value, hidden, shape)]
    if bias is not None and bias in call.fields:
        parts.append(call.reduced(call.field(bias), [-1]))
    places = call.reduced(query, [-1])[4:]
    merged = union(parts, shape)
    return [Field._make([*merged[:4], *(place.expand(shape) for place in places)])]
