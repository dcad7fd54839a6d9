"""One forward pass of anybody's network: what fails in it is the user's to fix, in one line."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, in_the_users_code


def forward(model: nn.Module, images: Tensor) -> Any:
    """`model(images)`; raises `InputError` with the shape of the images if that fails."""
    what = f"the network fails on images of shape {tuple(images.shape)}"
    with in_the_users_code(what, ": choose a size that it takes, or fix its code"):
        return model(images)


@contextlib.contextmanager
def taken_apart() -> Iterator[None]:
    """Multi-head attention as the operations that it is made of, not as one fast one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 matrices are float32, and convolutions on a GPU the same every time."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Products of float32 matrices, forward and backward, may be of TF32 on a GPU, or may not."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def tensor_of(output: Any) -> Tensor:
    """The tensor that a network puts out, in training or in evaluation.

    Of a dict, or of a tuple with names (torchvision's GoogLeNet and Inception while they are
    trained), it is what the network itself calls ``logits``. Raises `InputError` for all else:
    nothing says which part of it is meant.
    """
    found = output
    if isinstance(output, tuple):
        found = getattr(output, "logits", None)
    elif isinstance(output, Mapping):
        found = output.get("logits")
    if not isinstance(found, Tensor):
        raise InputError(
            f"the network puts out {described(output)}, no tensor of logits: let its forward() "
            "return them alone, or say which part is meant, as in "
            "models.NAME.targets.output: {module: output, part: 0}"
        )
    return found


def logits(output: Any) -> Tensor:
    """The logits (N, classes) in what a network puts out; raises `InputError` if there are none."""
    found = tensor_of(output)
    if found.ndim != 2:
        raise InputError(
            f"the network puts out a tensor of shape {tuple(found.shape)}, no logits (images, "
            "classes): let its forward() return these"
        )
    dense = found.layout == torch.strided and not found.is_meta
    if not found.is_floating_point() or not dense or not found.shape[1]:
        raise InputError(
            f"the network puts out {found.layout} logits {tuple(found.shape)} of {found.dtype} on "
            f"{found.device}: let its forward() return dense floating-point numbers, one for each "
            "class"
        )
    return found


def described(output: Any) -> str:
    """What a module yields, for a message."""
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {kind} of {', '.join(map(str, output))}"
    return f"a {kind} of {len(output)}" if isinstance(output, (tuple, list)) else f"a {kind}"
