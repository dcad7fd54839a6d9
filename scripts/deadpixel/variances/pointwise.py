"""Activations, sums and products, element by element."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..errors import InputError
from .compact import broadcast_back
from .moments import Moments, of_constant, through
from .rule import Arriving, Known, Passed, Rule, only
from .tape import Step, Value, Weight

aten = torch.ops.aten
_SLOPE = 0.25  # of PReLU, as PyTorch draws none


def function(step: Step) -> Callable[[Tensor], Tensor]:
    """Of numbers instead of values, and PReLU as it is before training."""

    def on(nodes: Tensor) -> Tensor:
        def number(leaf: Any) -> Any:
            if isinstance(leaf, Weight):
                return torch.tensor(_SLOPE, dtype=nodes.dtype)
            return nodes if isinstance(leaf, Value) else leaf

        return step.func(**tree_map(number, step.given))

    return on


def _activation(step: Step, known: Known) -> list[Moments]:
    (source,), (made,) = {*step.inputs}, step.outputs
    moments = known.of(source)
    if source in known.statistics and _is_root(step):
        found = of_constant(function(step)(moments.mean))
        slope = torch.zeros_like(found.mean)  # as of all norms
    else:
        found, slope = through(moments, function(step))
        if _is_finite(*moments) and not _is_finite(*found, slope):
            raise InputError(
                f"{step} has a pole, or is not defined everywhere, where its argument is taken to "
                "be normal: its sensitivity is not known; write it as one of PyTorch's activations"
            )
    known.activations[made], known.slopes[made] = step, slope
    if source in known.statistics:
        known.statistics.add(made)
    return [found]


def _is_finite(*parts: Tensor) -> bool:
    return all(bool(part.isfinite().all()) for part in parts)


def _is_root(step: Step) -> bool:
    packet, exponent = step.func.overloadpacket, step.given.get("exponent")
    return packet in (aten.sqrt, aten.sqrt_, aten.rsqrt, aten.rsqrt_) or exponent in (0.5, -0.5)


def _activation_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    yield step.inputs[0], only(arriving) * known.slopes[step.outputs[0]]


def _addends(step: Step) -> list[tuple[Any, float]]:
    sign = -1 if "sub" in step.func.overloadpacket.__name__ else 1
    return [(step.given["self"], 1.0), (step.given["other"], sign * step.given.get("alpha", 1))]


def _addition(step: Step, known: Known) -> list[Moments]:
    if _centres(step, known):
        return [known.centred[step.given["other"]][1]]
    one, other = (known.of(operand).scaled(factor) for operand, factor in _addends(step))
    return [one.plus(other)]


def _centres(step: Step, known: Known) -> bool:
    """Whether it takes from values their own mean."""
    (one, _), (other, factor) = _addends(step)
    return factor == -1 and other in known.centred and known.centred[other][0] is one


def _addition_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    """Those through the mean that a norm takes away are left out, as of all norms."""
    operands = [(of, factor**2) for of, factor in _addends(step)]
    yield from _passed(step, arriving, operands[:1] if _centres(step, known) else operands)


def _passed(step: Step, arriving: Arriving, operands: Iterable[tuple[Any, Any]]) -> Passed:
    """operands: each with the mean square of its coefficient."""
    for operand, power in operands:
        if isinstance(operand, Value):
            arrived = only(arriving) * power
            yield operand, broadcast_back(arrived, step.outputs[0].shape, operand.shape)


def _factors(step: Step, known: Known) -> tuple[Moments, Moments]:
    """A parameter counts as one, and a divisor that the image decides as its mean."""
    one, other = (known.of(step.given[name], 1.0) for name in ("self", "other"))
    if step.func.overloadpacket in (aten.div, aten.div_):
        other = of_constant(1 / other.mean)
    return one, other


def _product(step: Step, known: Known) -> list[Moments]:
    return [_multiplied(*_factors(step, known))]


def _multiplied(one: Moments, other: Moments) -> Moments:
    return Moments(*(a * b for a, b in zip(one, other, strict=True)))


def _product_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    one, other = _factors(step, known)
    operands = [(step.given["self"], other.power), (step.given["other"], one.power)]
    divides = step.func.overloadpacket in (aten.div, aten.div_)
    yield from _passed(step, arriving, operands[:1] if divides else operands)


def _added_product(step: Step, known: Known) -> list[Moments]:
    """self + value * tensor1 * tensor2."""
    factors = (known.of(step.given[name], 1.0) for name in ("tensor1", "tensor2"))
    product = _multiplied(*factors).scaled(step.given.get("value", 1))
    return [known.of(step.given["self"]).plus(product)]


def _added_product_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    one, other = step.given["tensor1"], step.given["tensor2"]
    of_one, of_other = (known.of(factor, 1.0).power for factor in (one, other))
    scale = step.given.get("value", 1) ** 2
    operands = [(step.given["self"], 1), (one, scale * of_other), (other, scale * of_one)]
    yield from _passed(step, arriving, operands)


ACTIVATION = Rule(_activation, _activation_gradients)
ADDITION = Rule(_addition, _addition_gradients)
PRODUCT = Rule(_product, _product_gradients)
ADDED_PRODUCT = Rule(_added_product, _added_product_gradients)
