"""The way back from a feature to the image, by derivatives of our own for two operations."""

from collections.abc import Sized
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .convolution import Convolution
from .grid import Grid
from .pooling import MaxPool

Ties = Literal["shared", "first"]
# What autograd calls operations that do the same to each colour of an image.
_SAME_FOR_COLOURS = ("CloneBackward0", "ToCopyBackward0", "ConstantPadNdBackward0")
_RELU = "ReluBackward0"
_POOLS = frozenset([torch.max_pool2d, functional.max_pool2d])
_EXACT = (torch.float32, torch.float64)  # in half precision other values are as near as equal ones


class WayBack(TorchFunctionMode):
    """Gradients of the images that a network is given within it, whatever its code calls.

    Convolutions and max-pools get derivatives of their own; all other operations keep PyTorch's,
    as do max-pools of one or three dimensions, adaptive ones and those that yield their indices.

    images: (N, C, H, W), a leaf. ties: whether the largest values of a window share the gradient
    of their maximum equally, or the first one has all of it, as PyTorch does. mean_colour: only the
    mean of the gradient over the colours of an image is asked for; each of them may be that mean.
    """

    def __init__(self, images: Tensor, ties: Ties, *, mean_colour: bool) -> None:
        """Nothing is computed before a network is."""
        super().__init__()
        self._images, self._mean_colour = images, mean_colour
        self._pools = _POOLS if ties == "shared" else frozenset()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Called by PyTorch for each of its functions."""
        kwargs, found = kwargs or {}, None
        if func is torch.conv2d:
            found = self._convolved(*args, **kwargs)
        elif func in self._pools:
            found = _pooled(*args, **kwargs)
        return func(*args, **kwargs) if found is None else found

    def _convolved(
        self,
        input: Tensor,  # noqa: A002 - PyTorch's name
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor | None:
        """`torch.conv2d`, if only its input has a gradient."""
        plain = (
            input.ndim == 4
            and input.requires_grad
            and input.dtype == weight.dtype
            and not isinstance(padding, str)
            and not weight.requires_grad
            and (bias is None or not bias.requires_grad)
            and not torch.is_autocast_enabled(input.device.type)
        )
        if not plain:
            return None
        grid = Grid.of(tuple(weight.shape[2:]), stride, padding, dilation)
        once = self._mean_colour and groups == 1 and grid.is_patches and self._is_image(input)
        return Convolution.apply(input, weight, bias, grid, groups, once)

    def _is_image(self, found: Tensor) -> bool:
        """Whether it is the image, or what treats all its colours the same made of it."""
        node = found.grad_fn
        while node is not None and node.name() in _SAME_FOR_COLOURS and not _pads_colours(node):
            node = node.next_functions[0][0]
        return getattr(node, "variable", None) is self._images


def _pads_colours(node: Any) -> bool:
    """Whether it adds colours or takes some off; a padding has two numbers for each dimension."""
    return any(getattr(node, "_saved_pad", ())[4:])


def _pooled(
    input: Tensor,  # noqa: A002 - PyTorch's name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """`functional.max_pool2d`, if its input has a gradient."""
    if input.ndim != 4 or not input.requires_grad or input.dtype not in _EXACT:
        return None
    is_given = stride is not None and not (isinstance(stride, Sized) and not len(stride))
    grid = Grid.of(kernel_size, stride if is_given else kernel_size, padding, dilation)
    behind_relu = input.grad_fn is not None and input.grad_fn.name() == _RELU
    return MaxPool.apply(input, grid, ceil_mode, behind_relu)
