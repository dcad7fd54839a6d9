"""What many values come to: their mean, sum, largest, length and spread."""

import math

import torch
from torch import Tensor

from ..errors import InputError
from .compact import averaged
from .moments import Moments, of_constant, through
from .pointwise import function
from .rule import Arriving, Known, Passed, Rule, nothing, only
from .tape import Step

aten = torch.ops.aten


def mean_of(moments: Moments, number: float) -> Moments:
    """Of so many values of a channel, whose own mean they share."""
    return moments._replace(power=moments.steady + moments.variance / number)


def largest_of(step: Step, known: Known, number: int) -> tuple[Moments, Tensor]:
    """Of so many values that a step compares, and how much larger their squared slopes are.

    Behind an activation they are ordered as the activation orders normal values.
    """
    maker = known.activations.get(step.inputs[0])
    if maker is None:
        found = through(known.of(step.inputs[0]), torch.clone, number)[0]
        return found, torch.ones((), dtype=torch.float64)
    before = known.of(maker.inputs[0])
    found, slope = through(before, function(maker), number)
    return found, slope / known.slopes[step.inputs[0]]


def _mean(step: Step, known: Known) -> list[Moments]:
    (source,), (made,) = step.inputs, step.outputs
    number = _number(step)
    moments = mean_of(_averaged(step, known.of(source)), number)
    known.statistics.add(made)
    if _is_mean(step) and (step.given.get("keepdim") or not made.shape):
        known.centred[made] = source, _centred(step, known.of(source))
    return [_without_reduced(step, moments.scaled(1.0 if _is_mean(step) else number))]


def _mean_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    yield step.inputs[0], _back(step, arriving) / (_number(step) ** 2 if _is_mean(step) else 1)


def _is_mean(step: Step) -> bool:
    return step.func.overloadpacket is aten.mean


def _largest(step: Step, known: Known) -> list[Moments]:
    found = largest_of(step, known, _number(step))[0]
    return [_without_reduced(step, _averaged(step, found))]


def _largest_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    """Each is the largest with the same chance."""
    number = _number(step)
    slope = largest_of(step, known, number)[1]
    yield step.inputs[0], _back(step, arriving) / number * slope


def _length(step: Step, known: Known) -> list[Moments]:
    """Of a vector, that of its mean square."""
    if step.given["ord"] != 2:
        raise InputError(f"{step} is no Euclidean length: its sensitivity is not known; use ord 2")
    power = _averaged(step, known.of(step.inputs[0])).power
    return [_without_reduced(step, of_constant((power * _number(step)).sqrt()))]


def _spread(step: Step, known: Known) -> list[Moments]:
    variance = averaged(_centred(step, known.of(step.inputs[0])).power, _dims(step))
    is_root = step.func.overloadpacket is aten.std
    known.statistics.add(step.outputs[0])
    return [_without_reduced(step, of_constant(variance.sqrt() if is_root else variance))]


def _centred(step: Step, moments: Moments) -> Moments:
    """Over the places of a map (N, C, H, W) around the mean of each channel, else that of all."""
    if len(step.inputs[0].shape) == 4 and _dims(step) == [2, 3]:
        zero = torch.zeros_like(moments.variance)
        return Moments(zero, zero, moments.variance)
    return moments.around(averaged(moments.mean, _dims(step)))


def _averaged(step: Step, moments: Moments) -> Moments:
    return moments.map(lambda part: averaged(part, _dims(step)))


def _dims(step: Step) -> list[int]:
    """That are reduced."""
    number, given = len(step.inputs[0].shape), step.given.get("dim")
    dims = [given] if isinstance(given, int) else given or range(number)
    return sorted(dim % number for dim in dims)


def _number(step: Step) -> int:
    """Of values that are reduced to one."""
    return math.prod(step.inputs[0].shape[dim] for dim in _dims(step))


def _without_reduced(step: Step, moments: Moments) -> Moments:
    if step.given.get("keepdim"):
        return moments
    return moments.map(lambda part: part.squeeze(tuple(_dims(step))))


def _back(step: Step, arriving: Arriving) -> Tensor:
    """The only one that arrives, with dimensions of length one for those that are reduced."""
    arrived = only(arriving)
    if not step.given.get("keepdim"):
        for dim in _dims(step):
            arrived = arrived.unsqueeze(dim)
    return arrived


MEAN = Rule(_mean, _mean_gradients)
LARGEST = Rule(_largest, _largest_gradients)
LENGTH = Rule(_length, nothing)
SPREAD = Rule(_spread, nothing)
