"""BlurPool: what has stride 2 computes at every place, and a blur comes before the stride.

Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019. The blur is a binomial
filter of each channel. It has no weights.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .changes import ChangesMap, OwnHook, is_changed
from .plain import is_plain
from .windows import Axis, axes


@dataclass(frozen=True)
class Blurs(OwnHook):
    """Forward hook: the map that a module makes is blurred by its buffer `blur` and strided.

    The map is reflected at its borders, as published; where it is too small for that, its outermost
    values are repeated. Either way the filter's coefficients sum to one, at borders too.
    """

    stride: tuple[int, int]

    def __call__(self, module: Any, _arguments: tuple, feature_map: Tensor) -> Tensor:
        """The map ([N,] C, h, w), of 1 / stride of the size of `feature_map`, rounded up."""
        taps = module.blur.shape[2:]
        edges = [edge for n in reversed(taps) for edge in ((n - 1) // 2, n // 2)]
        fits = all(n // 2 < length for n, length in zip(taps, feature_map.shape[-2:], strict=True))
        padded = functional.pad(feature_map, edges, mode="reflect" if fits else "replicate")
        channels = feature_map.shape[-3]
        filters = module.blur.to(feature_map).expand(channels, -1, -1, -1)
        return functional.conv2d(padded, filters, stride=self.stride, groups=channels)


@dataclass(frozen=True)
class ReachesBeyond(ChangesMap):
    """Of a max-pool that was `old` and in ceil mode: also its cut windows."""

    old: tuple[Axis, Axis]

    def changed(self, module: Any, feature_map: Tensor) -> Tensor:
        """The map with -inf added right and at the bottom."""
        rows, columns = map(self._missing, self.old, feature_map.shape[-2:])
        return functional.pad(feature_map, [0, columns, 0, rows], value=-math.inf)

    @staticmethod
    def _missing(axis: Axis, length: int) -> int:
        reached = axis.span(axis.outputs(length, ceil_mode=True)) - 2 * axis.padding
        return max(0, reached - length)


def obstacle(module: nn.Module) -> str | None:
    """Why a convolution or max-pool with stride 2 cannot be blurred, in words, if so."""
    if not is_plain(module):
        return "it is a class of its own, which blurring does not try"
    if is_changed(module):
        return "another surgery has changed it"
    if getattr(module, "return_indices", False):
        return "its indices would not fit the map"
    return None


def blur(module: Any, taps: int) -> None:
    """Change a plain convolution or max-pool with stride 2 itself; its weights stay."""
    old = axes(module)
    rows, columns = (_binomial(taps if axis.stride == 2 else 1) for axis in old)
    module.register_buffer("blur", torch.outer(rows, columns)[None, None], persistent=False)
    if getattr(module, "ceil_mode", False):
        ReachesBeyond(old).register(module)
    module.stride = tuple(1 if axis.stride == 2 else axis.stride for axis in old)
    strides = (2 if axis.stride == 2 else 1 for axis in old)
    module.register_forward_hook(Blurs((next(strides), next(strides))))


def _binomial(taps: int) -> Tensor:
    """Coefficients (taps,) that sum to one, exact in any floating-point type."""
    row = [math.comb(taps - 1, place) for place in range(taps)]
    return torch.tensor(row) / 2.0 ** (taps - 1)
