"""Operations that only move numbers about: their own vector-Jacobian products are the rules."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from . import compact
from .compact import averaged, broadcast_back, full, shrunk
from .moments import Moments
from .rule import Arriving, Known, Passed, Rule, only
from .tape import Step, Value, Weight

aten = torch.ops.aten
_ALONG = frozenset([aten.slice, aten.split, aten.split_with_sizes])  # one dimension
PADDING = frozenset([aten.constant_pad_nd, aten.reflection_pad2d, aten.replication_pad2d])


def _same(step: Step, known: Known) -> list[Moments]:
    (source,), (made,) = step.inputs, step.outputs
    if source in known.activations:
        known.activations[made] = known.activations[source]
        known.slopes[made] = known.slopes[source]
    if source in known.statistics:
        known.statistics.add(made)
    return [known.of(source)]


def _same_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    yield step.inputs[0], only(arriving)


def _reshaped(step: Step, known: Known) -> list[Moments]:
    before, after = step.inputs[0].shape, step.outputs[0].shape
    return [known.of(step.inputs[0]).map(lambda part: compact.reshaped(part, before, after))]


def _reshaped_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    before, after = step.inputs[0].shape, step.outputs[0].shape
    yield step.inputs[0], compact.reshaped(only(arriving), after, before)


def _permuted(step: Step, known: Known) -> list[Moments]:
    order = _order(step)
    return [known.of(step.inputs[0]).map(lambda part: part.permute(order))]


def _permuted_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    order = _order(step)
    yield step.inputs[0], only(arriving).permute([order.index(dim) for dim in range(len(order))])


def _order(step: Step) -> list[int]:
    sizes = range(2, 2 + len(step.inputs[0].shape))
    shape = step.func(**_with_values(step.given, [torch.empty([*sizes], device="meta")])).shape
    return [sizes.index(size) for size in shape]


def _expanded(step: Step, known: Known) -> list[Moments]:
    more = len(step.outputs[0].shape) - len(step.inputs[0].shape)
    return [known.of(step.inputs[0]).map(lambda part: part[(None,) * more])]


def _expanded_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    before, after = step.inputs[0].shape, step.outputs[0].shape
    yield step.inputs[0], broadcast_back(only(arriving), after, before)


def _rearranged(step: Step, known: Known) -> list[Moments]:
    dims, shape = _dims(step), step.inputs[0].shape
    moments = known.of(step.inputs[0]).map(lambda part: full(part, shape, dims))
    moved = [tree_leaves(step.func(**_with_values(step.given, [part]))) for part in moments]
    return [Moments(*map(shrunk, parts)) for parts in zip(*moved, strict=True)]


def _padded(step: Step, known: Known) -> list[Moments]:
    """What the values are far from the border counts for the norms behind."""
    return [known.of(step.inputs[0]).map(lambda part: averaged(part, _dims(step)))]


def _rearranged_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    dims, lengths = _dims(step), [*step.inputs[0].shape]
    for dim in {*range(len(lengths))} - {*dims}:
        lengths[dim] = max(part.shape[dim] for part in arriving if part is not None)
    numbers = torch.zeros((), dtype=torch.float64).expand(lengths).requires_grad_()
    with torch.enable_grad():
        moved = tree_leaves(step.func(**_with_values(step.given, [numbers])))
    arrived = {
        made: part.expand(made.shape)
        for made, part in zip(moved, arriving, strict=True)
        if part is not None
    }
    (passed,) = torch.autograd.grad([*arrived], numbers, [*arrived.values()])
    yield step.inputs[0], passed


def _dims(step: Step) -> list[int]:
    """Along which an operation moves numbers; those of others do not matter to it."""
    number, packet = len(step.inputs[0].shape), step.func.overloadpacket
    if packet in PADDING:
        amounts = step.given.get("pad") or step.given["padding"]
        return [number - 1 - axis for axis in range(len(amounts) // 2)]
    return [step.given["dim"] % number] if packet in _ALONG else [*range(number)]


def _with_values(given: dict[str, Any], parts: Sequence[Tensor]) -> dict[str, Any]:
    following = iter(parts)
    return tree_map(lambda leaf: next(following) if isinstance(leaf, Value) else leaf, given)


def _side_by_side(step: Step, known: Known, along: Sequence[int]) -> list[Moments]:
    """A parameter, such as a class token, is taken for one of those that it stands beside."""
    operands = step.given["tensors"]
    first = next(o for o in operands if isinstance(o, Value) and 0 not in o.shape)
    usual = known.of(first).map(lambda part: averaged(part, along))
    return [usual if isinstance(o, Weight) else known.of(o) for o in operands]


def _joined(moments: Sequence[Moments], dim: int, lengths: Sequence[int]) -> Moments:
    """Along a dimension of which each has so much."""

    def joined(*parts: Tensor) -> Tensor:
        across = [[*part.shape] for part in parts]
        for shape in across:
            shape[dim] = 1
        common = [*torch.broadcast_shapes(*across)]
        lines = []
        for part, length in zip(parts, lengths, strict=True):
            common[dim] = length
            lines.append(part.expand(common))
        return shrunk(torch.cat(lines, dim))

    return Moments(*map(joined, *moments))


def _concatenated(step: Step, known: Known) -> list[Moments]:
    dim = step.given["dim"]
    lengths = [operand.shape[dim] for operand in step.given["tensors"]]
    return [_joined(_side_by_side(step, known, [dim]), dim, lengths)]


def _concatenated_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    operands, dim = step.given["tensors"], step.given["dim"]
    arrived = full(only(arriving), step.outputs[0].shape, [dim])
    lengths = [operand.shape[dim] for operand in operands]
    for operand, part in zip(operands, arrived.split(lengths, dim), strict=True):
        if isinstance(operand, Value):
            yield operand, part


def _stacked(step: Step, known: Known) -> list[Moments]:
    dim = step.given["dim"] % len(step.outputs[0].shape)
    parts = [m.map(lambda part: part.unsqueeze(dim)) for m in _side_by_side(step, known, [])]
    return [_joined(parts, dim, [1] * len(parts))]


def _stacked_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    operands, dim = step.given["tensors"], step.given["dim"]
    arrived = full(only(arriving), step.outputs[0].shape, [dim])
    for operand, part in zip(operands, arrived.unbind(dim), strict=True):
        if isinstance(operand, Value):
            yield operand, part


SAME = Rule(_same, _same_gradients)
RESHAPED = Rule(_reshaped, _reshaped_gradients)
PERMUTED = Rule(_permuted, _permuted_gradients)
EXPANDED = Rule(_expanded, _expanded_gradients)
REARRANGED = Rule(_rearranged, _rearranged_gradients)
PADDED = Rule(_padded, _rearranged_gradients)
CONCATENATED = Rule(_concatenated, _concatenated_gradients)
STACKED = Rule(_stacked, _stacked_gradients)
