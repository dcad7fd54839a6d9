"""Norms, and the softmax of attention: gradients through their statistics are left out.

Those spread over all that is averaged, and are as many times smaller as it is long.
"""

from collections.abc import Sequence

import torch

from .compact import averaged, full, reshaped
from .moments import Moments, of_constant
from .rule import Arriving, Known, Passed, Rule, nothing, only
from .tape import Step


def _batch_norm(step: Step, known: Known) -> list[Moments]:
    """Calibrated, of gain one: every channel has mean zero and variance one."""
    moments = _of_channels(step, known)
    ones = torch.ones_like(moments.power)
    return [Moments(torch.zeros_like(ones), torch.zeros_like(ones), ones)]


def _batch_norm_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    yield step.inputs[0], only(arriving) / _of_channels(step, known).variance


def _of_channels(step: Step, known: Known) -> Moments:
    others = [dim for dim in range(len(step.inputs[0].shape)) if dim != 1]
    return known.of(step.inputs[0]).map(lambda part: averaged(part, others))


def _layer_norm(step: Step, known: Known) -> list[Moments]:
    """Of gain one: what lies together has mean zero and variance one, a channel keeps its own."""
    return [_normalised(known.of(step.inputs[0]), _last(step))[0]]


def _layer_norm_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    yield step.inputs[0], only(arriving) * _normalised(known.of(step.inputs[0]), _last(step))[1]


def _last(step: Step) -> list[int]:
    return [-1 - axis for axis in range(len(step.given["normalized_shape"]))]


def _normalised(moments: Moments, dims: Sequence[int]) -> tuple[Moments, torch.Tensor]:
    """And the square of what values are multiplied by."""
    mean = averaged(moments.mean, dims)
    gain = 1 / (averaged(moments.power, dims) - mean**2)
    return moments.around(mean).scaled(gain.sqrt()), gain


def _group_norm(step: Step, known: Known) -> list[Moments]:
    """As `layer_norm`, of groups of channels over all places."""
    before, grouped = _grouped(step)
    return [_in_groups(step, known)[0].map(lambda part: reshaped(part, grouped, before))]


def _group_norm_gradients(step: Step, known: Known, arriving: Arriving) -> Passed:
    before, grouped = _grouped(step)
    gain = _in_groups(step, known)[1]
    yield (
        step.inputs[0],
        reshaped(reshaped(only(arriving), before, grouped) * gain, grouped, before),
    )


def _in_groups(step: Step, known: Known) -> tuple[Moments, torch.Tensor]:
    before, grouped = _grouped(step)
    moments = known.of(step.inputs[0]).map(lambda part: reshaped(part, before, grouped))
    return _normalised(moments, range(2, len(grouped)))


def _grouped(step: Step) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape, groups = step.inputs[0].shape, step.given["group"]
    return shape, (shape[0], groups, shape[1] // groups, *shape[2:])


def _softmax(step: Step, known: Known) -> list[Moments]:
    """Of the mean scores: equal weights but for those that a constant mask hides."""
    dim = step.given["dim"]
    scores = full(known.of(step.inputs[0]).mean, step.inputs[0].shape, [dim])
    return [of_constant(scores.softmax(dim))]


BATCH_NORM = Rule(_batch_norm, _batch_norm_gradients)
LAYER_NORM = Rule(_layer_norm, _layer_norm_gradients)
GROUP_NORM = Rule(_group_norm, _group_norm_gradients)
SOFTMAX = Rule(_softmax, nothing)
