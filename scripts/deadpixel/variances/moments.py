"""Mean and variance of the values of a random network, and what an activation makes of them.

Over images of white noise a value is normal with the mean of its channel, and channels have means
of their own, also normal: a batch norm takes them away, an activation makes new ones. Norms after
activations are why gradients grow by pi / (pi - 1) at each ReLU (Yang et al., "A Mean Field Theory
of Batch Normalization", ICLR 2019), which is how much a branch weighs beside its shortcut.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .compact import shrunk

_CHANNELS = 15  # nodes of Gauss-Hermite quadrature over the means of channels
_PLACES = 2000  # of the trapezoidal rule, which kinks do not upset, over the values of a channel
_REACH = 8.5  # standard deviations
_LEAST_POWER = 1e-200  # by which nothing is divided into infinity


class Moments(NamedTuple):
    """Of a tensor's values, each compact.

    mean: over all channels. steady: mean square of what stays from place to place, the means of
    channels. power: mean square.
    """

    mean: Tensor
    steady: Tensor
    power: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "Moments":
        """The same done to each."""
        return Moments(*map(function, self))

    def scaled(self, factor: Tensor | float) -> "Moments":
        """Of the values times a constant."""
        return Moments(self.mean * factor, self.steady * factor**2, self.power * factor**2)

    def plus(self, other: "Moments") -> "Moments":
        """Of the sum with values that are independent of these."""
        cross = 2 * self.mean * other.mean
        steady, power = self.steady + other.steady + cross, self.power + other.power + cross
        return Moments(self.mean + other.mean, steady, power)

    def around(self, mean: Tensor) -> "Moments":
        """Of the values minus the mean of so many of them that nothing is random about it."""
        shift = mean**2 - 2 * self.mean * mean
        return Moments(self.mean - mean, self.steady + shift, self.power + shift)

    @property
    def variance(self) -> Tensor:
        """Of a channel's values from place to place and from image to image."""
        return self.power - self.steady

    @property
    def is_constant(self) -> bool:
        """Whether nothing is random about it."""
        return bool((self.power == self.mean**2).all())


def of_constant(numbers: Tensor) -> Moments:
    """Of values that are known."""
    numbers = shrunk(numbers.double())
    return Moments(numbers, numbers**2, numbers**2)


def through(
    moments: Moments, function: Callable[[Tensor], Tensor], largest_of: int = 1
) -> tuple[Moments, Tensor]:
    """Of the largest of what `function` makes of independent values, and its mean squared slope.

    That is NaN if the function has a pole among these values.
    """
    parts = torch.stack(torch.broadcast_tensors(*moments), -1)
    distinct, which = _rounded(parts.flatten(0, -2)).unique(dim=0, return_inverse=True)
    mean, steady, power = distinct.T
    differ = bool((steady > mean**2).any())
    channels, channel_weights = _hermite(_CHANNELS if differ else 1)
    places, place_weights = _normal()
    of_channels = mean[:, None] + (steady - mean**2).clamp(min=0).sqrt()[:, None] * channels
    spread = (power - steady).clamp(min=0).sqrt()[:, None, None] * places
    with torch.enable_grad():
        nodes = (of_channels[:, :, None] + spread).requires_grad_()
        values = function(nodes * 1).double()  # a copy: the function may change it in place
        slopes = torch.zeros_like(nodes)
        if values.requires_grad:  # no comparison, which has steps alone
            (slopes,) = torch.autograd.grad(values.sum(), nodes)
    values = values.detach()
    weights = _largest(values, place_weights, largest_of) if largest_of > 1 else place_weights
    means = (values * weights).sum(-1)
    found = [
        means @ channel_weights,
        means**2 @ channel_weights,
        (values**2 * weights).sum(-1) @ channel_weights,
        (slopes**2 * weights).sum(-1) @ channel_weights,
    ]
    step = spread[:, 0, 1] - spread[:, 0, 0]
    steep = slopes.abs().amax((1, 2)) * step > found[2].sqrt()  # as saturation never is
    found[3][steep & _is_rare(slopes**2 * weights, channel_weights)] = torch.nan
    mean, steady, power, slope = (shrunk(part[which].view(parts.shape[:-1])) for part in found)
    return Moments(mean, steady, power), slope


def _is_rare(shares: Tensor, channel_weights: Tensor) -> Tensor:
    """Whether over a fourth of the shares (..., channels, nodes) lies at two nodes in a row."""
    most = (shares[..., 1:] + shares[..., :-1]).amax(-1)
    return most @ channel_weights > shares.sum(-1) @ channel_weights / 4


def _rounded(rows: Tensor) -> Tensor:
    """Rows (mean, steady, power) to twelve digits of the power of each, be it ever so small."""
    scale = (rows[:, 2].clamp(min=_LEAST_POWER).log2() / 2).round().exp2()
    units = torch.stack([scale, scale**2, scale**2], -1)
    return (rows / units).round(decimals=12) * units


def _hermite(number: int) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(number)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def _normal() -> tuple[Tensor, Tensor]:
    """Nodes and weights of standard normal values."""
    nodes = torch.linspace(-_REACH, _REACH, _PLACES, dtype=torch.float64)
    weights = (-(nodes**2) / 2).exp()
    return nodes, weights / weights.sum()


def _largest(values: Tensor, weights: Tensor, number: int) -> Tensor:
    """Chances of values (..., nodes) to be the largest of so many, each drawn with `weights`."""
    order = values.argsort(dim=-1, stable=True)
    at_most = weights[order].cumsum(-1) ** number
    chances = at_most.diff(dim=-1, prepend=torch.zeros_like(at_most[..., :1]))
    return torch.empty_like(chances).scatter_(-1, order, chances)
