"""PyTorch's own convolutions and pools, whose arithmetic is known: changed by their geometry."""

import math
from typing import Any, TypeGuard

from torch import nn

from .changes import NONE, ByGeometry, Change, Edges, Gains
from .windows import Axis, axes, is_odd_strided, pair

Operation = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d


def is_plain(module: nn.Module) -> TypeGuard[Operation]:
    """Whether it computes what its attributes say, so that nothing needs to be tried."""
    return (
        type(module) in (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
        and "forward" not in vars(module)
        and (not isinstance(module, nn.Conv2d) or "weight" in module._parameters)
    )


def is_one_of_four(module: nn.Module) -> bool:
    """Whether it is a 1 x 1 convolution with stride 2, which reads one of every 2 x 2 places."""
    return (
        is_plain(module)
        and isinstance(module, nn.Conv2d)
        and all((axis.kernel, axis.stride, axis.padding) == (1, 2, 0) for axis in axes(module))
    )


def change_of(module: Operation, *, slicing: bool) -> Change | str | None:
    """How its kernel becomes even; why it cannot, in words; None if it is even or not strided."""
    gains = Gains(*(_gain(axis, slicing) for axis in axes(module)))
    if not any(map(any, gains)):
        return None
    return _obstacle(module, slicing) or _change(module, gains)


def unfolding_of(module: Operation) -> Change | str | None:
    """How space to depth comes before it; why it cannot, in words; None if it has no stride of 2.

    Sunkara and Luo, "No More Strided Convolutions or Pooling", ECML PKDD 2022: each 2 x 2 places
    become four times as many channels, on which the kernel of k x k is moved by one place at a
    time. That is a kernel of 2 k x 2 k with stride 2 and twice the padding. The weights that there
    were keep their places in the map; they begin behind as many new ones as there was padding.
    """
    old = axes(module)
    if not isinstance(module, nn.Conv2d) or all(axis.stride != 2 for axis in old):
        return None
    if any(axis.stride == 2 and axis.dilation > 1 for axis in old):
        return "it is dilated"
    if any(axis.stride == 2 and axis.padding > axis.kernel for axis in old):
        return "its padding is larger than its kernel"
    twice = (_twice(axis) if axis.stride == 2 else NONE for axis in old)
    return _obstacle(module, slicing=False) or _change(module, Gains(*twice))


def _twice(axis: Axis) -> Edges:
    return axis.padding, axis.kernel - axis.padding


def _gain(axis: Axis, slicing: bool) -> Edges:
    if not is_odd_strided(axis.kernel, axis.stride):
        return NONE
    if not slicing or axis.kernel == 1:
        return 0, 1
    return (-1, 0) if axis.padding else (0, -1)


def _obstacle(module: Operation, slicing: bool) -> str | None:
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            return f"its padding_mode is {module.padding_mode!r}"
        if isinstance(module.padding, str) and module.padding != "valid":
            return f"its padding is {module.padding!r}"
    elif isinstance(module, nn.AvgPool2d):
        if module.ceil_mode or module.divisor_override or not module.count_include_pad:
            return "its divisor is not the size of the window"
    elif module.return_indices:
        return "its indices would not fit the map"
    if slicing and any(0 < axis.padding < axis.dilation for axis in axes(module)):
        return "its padding is smaller than its dilation"
    if slicing and getattr(module, "ceil_mode", False) and any(pair(module.padding)):
        return "with ceil_mode and padding a smaller window could miss the map"
    return None


def _change(module: Operation, gains: Gains) -> Change:
    old = axes(module)
    height, width = map(lambda axis, gain: axis.kernel + sum(gain), old, gains)
    attributes: dict[str, Any] = {"kernel_size": (height, width)}
    if not isinstance(module, nn.Conv2d):
        attributes["ceil_mode"] = False
    if gains.rows[0] or gains.columns[0]:
        above, left = map(lambda axis, gain: axis.padding + axis.dilation * gain[0], old, gains)
        attributes["padding"] = above, left
    ceil_mode = getattr(module, "ceil_mode", False)
    fill = -math.inf if isinstance(module, nn.MaxPool2d) else 0.0
    return Change(ByGeometry(gains, fill, old, ceil_mode), attributes)
