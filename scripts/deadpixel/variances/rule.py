"""What a rule is, and what is known of a random network's values while rules go over its tape."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .moments import Moments, of_constant
from .tape import Step, Value, Weight

Arriving = Sequence[Tensor | None]  # variances of gradients of each output of a step, compact
Passed = Iterator[tuple[Value, Tensor]]  # and of each input that gets any


@dataclass
class Known:
    """The moments of all values so far; of which activations some are, and with which slopes.

    statistics: means of many values, and what activations make of these. centred: of some means,
    what they are of, and the moments of that minus the mean.
    """

    moments: dict[Value, Moments] = field(default_factory=dict)
    activations: dict[Value, Step] = field(default_factory=dict)
    slopes: dict[Value, Tensor] = field(default_factory=dict)  # squared, on average
    statistics: set[Value] = field(default_factory=set)
    centred: dict[Value, tuple[Value, Moments]] = field(default_factory=dict)

    def of(self, operand: Any, weight: float = 0.0) -> Moments:
        """Of a value, a constant or a number; `weight` is what a parameter counts as."""
        if isinstance(operand, Value):
            if operand not in self.moments:
                raise InputError("statistics or indices of an operation are used: not known")
            return self.moments[operand]
        if isinstance(operand, Weight):
            return of_constant(torch.full([1] * len(operand.shape), weight))
        return of_constant(torch.as_tensor(operand))


class Rule(NamedTuple):
    """moments: of the first outputs. gradients: what passes to each input that gets any."""

    moments: Callable[[Step, Known], list[Moments]]
    gradients: Callable[[Step, Known, Arriving], Passed]


def only(arriving: Arriving) -> Tensor:
    """Of the one output that gradients can come from."""
    assert arriving[0] is not None
    return arriving[0]


def nothing(_step: Step, _known: Known, _arriving: Arriving) -> Passed:
    """No gradient passes."""
    yield from ()
