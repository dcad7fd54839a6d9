"""Windows of convolutions and pools: their geometry, and which are odd with stride 2."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.module_tracker import ModuleTracker

from ..copies import copied
from ..uncompiled import DispatchMode


class Axis(NamedTuple):
    """Geometry of an operation along one axis."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    def span(self, outputs: int) -> int:
        """How many positions the windows of `outputs` neighbours cover, padding included."""
        return (outputs - 1) * self.stride + self.dilation * (self.kernel - 1) + 1

    def outputs(self, length: int, ceil_mode: bool) -> int:
        """PyTorch's rule: in ceil mode a cut window counts unless it starts in the padding."""
        spare = length + 2 * self.padding - self.span(1)
        if not ceil_mode:
            return spare // self.stride + 1
        steps = math.ceil(spare / self.stride)
        return steps + (steps * self.stride < length + self.padding)


def axes(module: Any) -> tuple[Axis, Axis]:
    """Geometry along rows and columns; padding that is text is ``valid``, none."""
    padding = 0 if isinstance(module.padding, str) else module.padding
    sizes = (module.kernel_size, module.stride, padding, getattr(module, "dilation", 1))
    rows, columns = zip(*map(pair, sizes), strict=True)
    return Axis(*rows), Axis(*columns)


def pair(value: Any) -> tuple[int, int]:
    """Rows and columns of an attribute that may be one number for both."""
    rows, columns = value if isinstance(value, Iterable) else (value, value)
    return rows, columns


def is_odd_strided(kernel: int, stride: int) -> bool:
    """Whether neighbouring pixels are met unequally often."""
    return kernel % 2 == 1 and stride == 2


def has_stride_two(module: Any) -> bool:
    """Whether it is a convolution or a max-pool, of any class, that says so of one of its axes."""
    weight = getattr(module, "weight", None)
    convolves = isinstance(weight, Tensor) and weight.ndim == 4
    stride = getattr(module, "stride", 1)
    strides = stride if isinstance(stride, (tuple, list)) else (stride,)
    is_transposed = getattr(module, "transposed", False)
    return (convolves or isinstance(module, nn.MaxPool2d)) and 2 in strides and not is_transposed


class Window(NamedTuple):
    """Of one call of an operation: where in the network it is, what it is called, its sizes."""

    caller: str
    operation: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]

    def __str__(self) -> str:
        """As messages have it."""
        sizes = ", stride ".join(" x ".join(map(str, s)) for s in (self.kernel, self.stride))
        return f"{self.caller}: {self.operation} {sizes}"


def odd_windows(model: nn.Module, image: Tensor) -> list[Window]:
    """The windows of convolutions and pools that are odd and have stride 2, in order of calls.

    Among them are functions that no change of modules can reach. `model` is left as it was.
    """
    with torch.no_grad(), ModuleTracker() as tracker, _OddWindows(tracker) as mode:
        copied(model).eval().requires_grad_(False)(image)  # views of weights upset the tracker
    return mode.found


class _OddWindows(DispatchMode):
    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()
        self.tracker = tracker
        self.found: list[Window] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kernel, stride = _sizes(func.overloadpacket, args)
        if any(map(is_odd_strided, kernel, stride)):
            caller = max(self.tracker.parents - {"Global"}, key=len)
            name = func.overloadpacket.__name__
            self.found.append(Window(caller, name, tuple(kernel), tuple(stride)))
        return func(*args, **(kwargs or {}))


def _sizes(operation: Any, args: tuple) -> tuple[Sequence[int], Sequence[int]]:
    """Kernel and stride of an ATen operation, where it has them and is not transposed."""
    aten = torch.ops.aten
    if operation is aten.convolution and not args[6]:
        return args[1].shape[2:], args[3]
    if operation in (aten.max_pool2d_with_indices, aten.avg_pool2d) and len(args) > 2:
        return args[1], args[2]
    return (), ()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In this block `model` is in evaluation mode; afterwards each module is as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
