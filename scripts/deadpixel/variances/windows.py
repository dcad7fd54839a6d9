"""Pools and interpolations: neighbours with coefficients that are known, or their largest."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .compact import full
from .moments import Moments
from .reductions import largest_of, mean_of
from .rule import Arriving, Known, Passed, Rule, only
from .tape import Step

aten = torch.ops.aten


def _average_pool(step: Step, known: Known) -> list[Moments]:
    """Of neighbours that are independent, as convolutions of white noise are."""
    return [mean_of(known.of(step.inputs[0]), math.prod(step.given["kernel_size"]))]


def _average_pool_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    """An entry of the Jacobian is one over the divisor, which differs at borders."""
    source = step.inputs[0]
    ones = torch.ones(1, 1, *source.shape[-2:], dtype=torch.float64)
    means = step.func(**{**step.given, "self": ones})
    sums = step.func(**{**step.given, "self": ones, "divisor_override": 1})
    entry = means / sums.clamp(min=1)
    yield source, _averages_back(step, only(arriving) * entry, step.given["count_include_pad"])


def _averages_back(step: Step, arrived: Tensor, count_include_pad: bool) -> Tensor:
    lengths = [*arrived.shape[:2], *step.inputs[0].shape[-2:]]
    numbers = torch.zeros(lengths, dtype=torch.float64, requires_grad=True)
    given = step.given
    with torch.enable_grad():
        made = functional.avg_pool2d(
            numbers,
            given["kernel_size"],
            given["stride"] or None,
            given["padding"],
            given["ceil_mode"],
            count_include_pad,
            given.get("divisor_override"),
        )
    return torch.autograd.grad(made, numbers, arrived.expand(made.shape))[0]


def _largest(step: Step, known: Known) -> list[Moments]:
    return [largest_of(step, known, math.prod(step.given["kernel_size"]))[0]]


def _largest_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    """Each place of a window is the largest with the same chance."""
    if {*step.given["dilation"]} != {1}:
        raise InputError(f"{step} is dilated: its sensitivity is not known")
    shape = [*only(arriving).shape[:2], *step.outputs[0].shape[-2:]]
    passed = _averages_back(step, only(arriving).expand(shape), count_include_pad=False)
    slope = largest_of(step, known, math.prod(step.given["kernel_size"]))[1]
    yield step.inputs[0], passed * slope


def _resampled(step: Step, known: Known) -> list[Moments]:
    """By adaptive pooling or interpolation: of as many neighbours as the squares say."""
    shares = [(matrix**2).sum(1).mean() for matrix in _coefficients(step)]
    number = float(1 / (shares[0] * shares[1]))
    return [mean_of(known.of(step.inputs[0]), number)]


def _resampled_gradients(step: Step, _known: Known, arriving: Arriving) -> Passed:
    rows, columns = (matrix**2 for matrix in _coefficients(step))
    arrived = full(only(arriving), step.outputs[0].shape, [-2, -1])
    yield step.inputs[0], rows.T @ arrived @ columns


def _coefficients(step: Step) -> list[Tensor]:
    """Along rows and along columns (outputs, inputs), read off unit impulses."""
    found = []
    for dim in (-2, -1):
        length, outputs = step.inputs[0].shape[dim], step.outputs[0].shape[dim]
        impulses = torch.eye(length, dtype=torch.float64)[:, None, :, None].expand(-1, -1, -1, 2)
        size = [outputs, 2]  # one place across would confuse PyTorch's layouts
        if dim == -1:
            impulses, size = impulses.mT, size[::-1]
        given = {**step.given, "self": impulses.contiguous(), "output_size": size}
        response = step.func(**given)
        found.append((response[..., 0] if dim == -2 else response[..., 0, :])[:, 0].T)
    return found


AVERAGE_POOL = Rule(_average_pool, _average_pool_gradients)
MAX_POOL = Rule(_largest, _largest_gradients)
RESAMPLED = Rule(_resampled, _resampled_gradients)
