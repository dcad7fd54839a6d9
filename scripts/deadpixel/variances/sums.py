"""Convolutions and matrix products: sums with weights that are drawn, or that are known."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .compact import averaged, full, shrunk, summed
from .moments import Moments
from .rule import Arriving, Known, Passed, Rule, only
from .tape import Step, Value, Weight

aten = torch.ops.aten
_FACTORS = {aten.addmm: ("mat1", "mat2"), aten.baddbmm: ("batch1", "batch2")}


def _by_group(part: Tensor, groups: int) -> Tensor:
    """Channels (1, C, ...) as (1, groups, C / groups, ...), or as one group of one."""
    return part.unflatten(1, (groups if part.shape[1] > 1 else 1, -1))


def _of_groups(part: Tensor, each: int) -> Tensor:
    """The other way: `each` channels of every group (1, groups or 1, ...)."""
    return part if part.shape[1] == 1 else part.repeat_interleave(each, 1)


def _convolution(step: Step, known: Known) -> list[Moments]:
    source, weight, groups = (step.given[name] for name in ("input", "weight", "groups"))
    moments = known.of(source)
    if isinstance(weight, Tensor):
        filters = _filters(step, weight.double())
        found = [_filtered(moments, source, taps, groups) for taps in filters]
        return [Moments(*(_mean(parts) for parts in zip(*found, strict=True)))]
    if not isinstance(weight, Weight):
        raise InputError(f"{step} has weights that the image decides: its sensitivity is not known")
    places = range(2, len(source.shape))
    each = step.outputs[0].shape[1] // groups

    def spread(part: Tensor) -> Tensor:
        return _of_groups(averaged(_by_group(averaged(part, places), groups), [2]).squeeze(2), each)

    steady, power = spread(moments.steady), spread(moments.power)
    return [Moments(torch.zeros_like(power), steady, power)]


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*parts)).mean(0)


def _filters(step: Step, weight: Tensor) -> list[Tensor]:
    """Those (Co, C / groups, k, l) that places meet: one, or if transposed one for each residue."""
    if not step.given["transposed"]:
        return [weight]
    filters = [weight.unflatten(0, (step.given["groups"], -1)).transpose(1, 2).flatten(0, 1)]
    for dim, (stride, dilation) in enumerate(
        zip(step.given["stride"], step.given["dilation"], strict=True), 2
    ):
        residues = torch.arange(weight.shape[dim]) * dilation % stride
        met = [(residues == residue).nonzero().flatten() for residue in range(stride)]
        filters = [taps.index_select(dim, places) for taps in filters for places in met]
    return filters


def _filtered(moments: Moments, source: Value, weight: Tensor, groups: int) -> Moments:
    """By a filter (Co, C / groups, k, l) that is known, of neighbours that are independent."""
    flat = weight.flatten(2)
    each = len(weight) // groups
    places = range(2, len(source.shape))

    def of_inputs(part: Tensor) -> Tensor:
        lines = full(averaged(part, places), source.shape, [1]).reshape(groups, 1, -1)
        return lines.expand(-1, each, -1).flatten(0, 1)

    mean, steady, variance = map(of_inputs, (moments.mean, moments.steady, moments.variance))
    sums = flat.sum(2)
    total = (sums * mean).sum(1)
    steady = total**2 + (sums**2 * (steady - mean**2)).sum(1)
    power = steady + ((flat**2).sum(2) * variance).sum(1)
    shape = [1, -1, *(1 for _ in places)]
    return Moments(total, steady, power).map(lambda part: shrunk(part.view(shape)))


def _convolution_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    source, weight, groups = (step.given[name] for name in ("input", "weight", "groups"))
    channels, made = source.shape[1], step.outputs[0]
    if isinstance(weight, Tensor):
        kernel = shrunk(weight.double() ** 2)
        if kernel.shape[:2] != (1, 1):  # channels have filters of their own
            arrived = full(only(arriving), made.shape)
            yield source, _slid_back(step, source.shape, weight.double() ** 2, arrived, groups)
            return
        kernel = full(kernel, weight.shape, range(2, weight.ndim))
    else:
        fan_in = channels // groups * math.prod(weight.shape[2:])
        if step.given["transposed"]:
            fan_in /= math.prod(step.given["stride"])
        kernel = torch.full((1, 1, *weight.shape[2:]), 1 / fan_in, dtype=torch.float64)
    arrived = full(only(arriving), made.shape, range(2, len(made.shape)))
    grouped = (1, groups, made.shape[1] // groups, *made.shape[2:])
    arrived = summed(_by_group(arrived, groups), grouped, [2]).squeeze(2)
    maps = arrived.flatten(0, 1)[:, None]  # one for each group, of each window of an image
    passed = _slid_back(step, (len(maps), 1, *source.shape[2:]), kernel, maps, 1)
    passed = passed[:, 0].unflatten(0, arrived.shape[:2])
    yield source, _of_groups(passed, channels // groups)


def _slid_back(
    step: Step, shape: Sequence[int], kernel: Tensor, arrived: Tensor, groups: int
) -> Tensor:
    numbers = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    changed = {"input": numbers, "weight": kernel, "bias": None, "groups": groups}
    with torch.enable_grad():
        made = step.func(**{**step.given, **changed})
    return torch.autograd.grad(made, numbers, arrived)[0]


def _matrices(step: Step) -> tuple[Any, Any]:
    """The two factors of a product."""
    if _adds(step) and isinstance(step.given["self"], Value):
        raise InputError(f"{step} adds what the image decides: its sensitivity is not known")
    left, right = _FACTORS.get(step.func.overloadpacket, ("self", "mat2"))
    return step.given[left], step.given[right]


def _adds(step: Step) -> bool:
    """Whether it is beta * self + alpha * the product."""
    return step.func.overloadpacket in _FACTORS


def _moments(factor: Any, known: Known, length: int) -> Moments:
    if not isinstance(factor, Weight):
        return known.of(factor)
    variance = torch.full([1] * len(factor.shape), 1 / length, dtype=torch.float64)
    return Moments(torch.zeros_like(variance), variance, variance)


def _matrix_product(step: Step, known: Known) -> list[Moments]:
    factors = _matrices(step)
    length = factors[0].shape[-1]
    left, right = (_moments(factor, known, length) for factor in factors)
    product = _product(left, right, length)
    if not _adds(step):
        return [product]
    added = known.of(step.given["self"]).scaled(step.given["beta"])
    return [product.scaled(step.given["alpha"]).plus(added)]


def _product(left: Moments, right: Moments, length: int) -> Moments:
    """A factor that is known, such as the weights of attention, averages what varies."""
    if left.is_constant:
        return _averaged(left, right, length)
    if right.is_constant:
        turned = _averaged(right.map(torch.adjoint), left.map(torch.adjoint), length)
        return turned.map(torch.adjoint)
    return Moments(*(_multiplied(a, b, length) for a, b in zip(left, right, strict=True)))


def _averaged(weights: Moments, values: Moments, length: int) -> Moments:
    """For all rows at once, whose masks differ: values are taken for what they are in the midst."""
    mean = _multiplied(weights.mean, values.mean, length)
    total = _multiplied(weights.mean, torch.ones_like(values.mean), length)
    steady = total * _multiplied(weights.mean, values.steady, length)
    power = steady + _multiplied(weights.power, values.variance, length)
    rows = range(power.ndim - 1)
    return Moments(*(averaged(part, rows) for part in (mean, steady, power)))


def _multiplied(left: Tensor, right: Tensor, length: int) -> Tensor:
    """Matrix product of compact tensors, whose sums go over `length` products."""
    if left.shape[-1] == right.shape[-2] == 1:
        return left * right * length
    rows, columns = left.shape[:-1], right.shape[-1]
    return left.expand(*rows, length) @ right.expand(*right.shape[:-2], length, columns)


def _matrix_product_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    """Each factor is a constant to the other."""
    left, right = _matrices(step)
    length, arrived = left.shape[-1], only(arriving) * step.given.get("alpha", 1) ** 2
    if isinstance(left, Value):
        power = _moments(right, known, length).power
        yield left, _multiplied(arrived, power.mT, step.outputs[0].shape[-1])
    if isinstance(right, Value):
        power = _moments(left, known, length).power
        yield right, _multiplied(power.mT, arrived, step.outputs[0].shape[-2])


CONVOLUTION = Rule(_convolution, _convolution_gradients)
MATRIX_PRODUCT = Rule(_matrix_product, _matrix_product_gradients)
