"""The windows that slide over maps in a forward pass, without any values: shapes are enough."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..uncompiled import DispatchMode

aten = torch.ops.aten
_POOLS = {aten.max_pool2d_with_indices, aten.avg_pool2d}


class Window(NamedTuple):
    """A kernel sliding along one axis of a map of `length` places."""

    length: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    def blind(self) -> bool:
        """Whether some weight of the kernel sees padding and nothing else."""
        starts = [i * self.stride - self.padding for i in range(self.outputs)]
        offsets = [tap * self.dilation for tap in range(self.kernel)]
        return any(all(not 0 <= s + tap < self.length for s in starts) for tap in offsets)


class WindowMode(DispatchMode):
    """Notes the windows of each convolution and pooling, as (rows, columns)."""

    def __init__(self) -> None:
        """No windows yet."""
        super().__init__()
        self.windows: list[list[Window]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Called by PyTorch for each operation."""
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in _POOLS or (packet is aten.convolution and not args[6]):
            names = [declared.name for declared in func._schema.arguments]
            given = dict(zip(names, args, strict=False)) | (kwargs or {})
            kernel = given["weight"].shape[2:] if "weight" in given else given["kernel_size"]
            output = result[0] if isinstance(result, tuple) else result
            self._note(args[0], output, list(kernel), given)
        return result

    def _note(self, source: Tensor, output: Tensor, kernel: list[int], given: dict) -> None:
        if source.ndim == 4:
            stride = given.get("stride") or kernel
            sizes = (kernel, stride, given.get("padding") or [0], given.get("dilation") or [1])
            pairs = [(list(size) * 2)[:2] if len(size) == 1 else list(size) for size in sizes]
            shapes = (source.shape[2:], output.shape[2:], *pairs)
            self.windows.append([Window(*map(int, axis)) for axis in zip(*shapes, strict=True)])
