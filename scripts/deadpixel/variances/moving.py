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


def _same(step: Step, known: Known) -> list[Moments]:
    return [known.of(step.inputs[0])]


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
    number = len(step.inputs[0].shape)
    amounts = step.given.get("pad") or step.given.get("padding")
    if amounts:
        return [number - 1 - axis for axis in range(len(amounts) // 2)]
    if step.func.overloadpacket not in _ALONG:
        return [*range(number)]
    return [step.given["dim"] % number]


def _with_values(given: dict[str, Any], parts: Sequence[Tensor]) -> dict[str, Any]:
    following = iter(parts)
    return tree_map(lambda leaf: next(following) if isinstance(leaf, Value) else leaf, given)


def _concatenated(step: Step, known: Known) -> list[Moments]:
    """A parameter, such as a class token, is taken for one of those that it stands beside."""
    operands, dim = step.given["tensors"], step.given["dim"]

    def joined(*parts: Tensor) -> Tensor:
        across = [[*part.shape] for part in parts]
        for shape in across:
            shape[dim] = 1
        lengths = [*torch.broadcast_shapes(*across)]
        lines = []
        for part, operand in zip(parts, operands, strict=True):
            lengths[dim] = operand.shape[dim]
            lines.append(part.expand(lengths))
        return shrunk(torch.cat(lines, dim))

    first = next(o for o in operands if isinstance(o, Value) and o.shape[dim])
    usual = known.of(first).map(lambda part: averaged(part, [dim]))
    moments = [usual if isinstance(o, Weight) else known.of(o) for o in operands]
    return [Moments(*map(joined, *moments))]


def _concatenated_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    operands, dim = step.given["tensors"], step.given["dim"]
    arrived = full(only(arriving), step.outputs[0].shape, [dim])
    lengths = [operand.shape[dim] for operand in operands]
    for operand, part in zip(operands, arrived.split(lengths, dim), strict=True):
        if isinstance(operand, Value):
            yield operand, part


SAME = Rule(_same, _same_gradients)
RESHAPED = Rule(_reshaped, _reshaped_gradients)
PERMUTED = Rule(_permuted, _permuted_gradients)
EXPANDED = Rule(_expanded, _expanded_gradients)
REARRANGED = Rule(_rearranged, _rearranged_gradients)
PADDED = Rule(_padded, _rearranged_gradients)
CONCATENATED = Rule(_concatenated, _concatenated_gradients)
