"""Modules of any other class: their kernels are changed as far as a trial proves the change right.

A trial runs copies in float64, with random weights, on random maps of even and odd lengths. Zeros
go to the end of the kernel, else to its start; where the module pads by the size of its map, an
even and an odd length may need different edges.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..copies import copied
from ..errors import InputError, in_one_line
from .changes import NONE, ByParity, Change, Edges, Gains, grow, is_pytorchs, kernels
from .windows import is_odd_strided, odd_windows, pair

_PLACES: tuple[Edges, Edges] = ((0, 1), (1, 0))  # of the new row or column
_TOLERANCE = 1e-10  # of the largest value: rounding in float64 stays far below, one weight above


def change_of(module: nn.Module) -> Change | str | None:
    """How its kernel becomes even; why it cannot, in words; None if it has no odd one of stride 2.

    Whatever the module is, it is left as it was, and so is the state of PyTorch's generator.
    """
    if not _may_be_odd(module):
        return None
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            subject = _Pool(module) if _is_pool(module) else _Convolution(module)
            axes = subject.odd_axes()
        except InputError as error:
            return str(error)
        except Exception as error:  # the user's own code
            runs = "it does not run on a map alone"
            return f"{runs} ({in_one_line(error)})" if hasattr(module, "stride") else None
        try:
            return _proven(subject, axes) if axes else None
        except InputError as error:
            return str(error)
        except Exception as error:
            return f"with an even kernel it fails ({in_one_line(error)})"


def _is_pool(module: nn.Module) -> bool:
    return isinstance(module, (nn.MaxPool2d, nn.AvgPool2d))


def _may_be_odd(module: Any) -> bool:
    """Without running it: whether it has a kernel and, if it says its stride, an odd one with 2."""
    weight = getattr(module, "weight", None)
    if _is_pool(module):
        kernel = pair(module.kernel_size)
    elif isinstance(weight, Tensor) and weight.ndim == 4 and weight.is_floating_point():
        kernel = weight.shape[2:]
    else:
        return False
    stride = getattr(module, "stride", 2)
    strides = stride if isinstance(stride, (tuple, list)) else (stride, stride)
    is_transposed = getattr(module, "transposed", False)
    return not is_transposed and any(map(is_odd_strided, kernel, strides))


class _Subject(ABC):
    """A copy of a module that is experimented on; its user's hooks do not see that."""

    kernel: tuple[int, int]
    channels: int
    fill = 0.0

    def __init__(self, module: nn.Module) -> None:
        self.module = copied(module).to("cpu", torch.float64).eval()
        generator = torch.Generator().manual_seed(0)
        for parameter in filter(Tensor.is_floating_point, self.module.parameters()):
            parameter.uniform_(0.5, 1.5, generator=generator)
        for hooks in (self.module._forward_pre_hooks, self.module._forward_hooks):
            for key, hook in [*hooks.items()]:
                if not is_pytorchs(hook):
                    del hooks[key]

    def odd_axes(self) -> list[int]:
        """Along which axes its kernel is odd and has stride 2, as a call on a map shows.

        Raises `InputError` if what it computes with is another kernel than its own.
        """
        found = odd_windows(self.module, self.image(self.lengths(0)[1], self.lengths(1)[1]))
        for window in found:
            if window.kernel != self.kernel:
                raise InputError(f"its kernel is not what it computes with ({window})")
        return [a for a in (0, 1) if any(is_odd_strided(w.kernel[a], w.stride[a]) for w in found)]

    def dilation(self, axis: int) -> int:
        return pair(getattr(self.module, "dilation", 1))[axis]

    def lengths(self, axis: int) -> list[int]:
        """Of maps along an axis: four neighbours, of which two are even, and a longer one."""
        least = self.dilation(axis) * self.kernel[axis] + 1
        return [*range(least, least + 4), least + 25]

    def image(self, height: int, width: int) -> Tensor:
        generator = torch.Generator().manual_seed(height * width)
        shape = 1, self.channels, height, width
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    @abstractmethod
    def expected(self, image: Tensor, gains: Gains) -> Tensor:
        """What the changed module has to compute."""

    def grown(self, gains: Gains) -> nn.Module:
        """A copy with the larger kernel alone."""
        module = copied(self.module)
        grow(module, gains, {})
        for name, value in _attributes(module, self.kernel, gains).items():
            setattr(module, name, value)
        return module


class _Convolution(_Subject):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        weight: Any = self.module.weight
        self.kernel = tuple(weight.shape[2:])
        self.channels = weight.shape[1] * getattr(module, "groups", 1)

    def expected(self, image: Tensor, gains: Gains) -> Tensor:
        """The same as before."""
        return self.module(image)


class _Pool(_Subject):
    channels = 2

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.takes_maximum = isinstance(module, nn.MaxPool2d)
        self.fill = -math.inf if self.takes_maximum else 0.0
        self.kernel = pair(self.module.kernel_size)
        image = self.image(self.lengths(0)[0], self.lengths(1)[1])
        if not _agree(self.module(image), self.expected(image, Gains(NONE, NONE))):
            raise InputError("it is neither the maximum nor the mean of its windows")

    def expected(self, image: Tensor, gains: Gains) -> Tensor:
        """By definition, over the windows that impulses show, each longer by `gains`."""
        length = image.shape[-2] * image.shape[-1]
        impulses = torch.eye(length, dtype=image.dtype).view(length, 1, *image.shape[-2:])
        seen = (self.module(impulses) > 0).squeeze(1)
        seen = seen.view(*image.shape[-2:], *seen.shape[1:])  # of pixel (i, j) in window (k, l)
        rows = self._longer(seen.any(3).any(1), gains, 0)
        columns = self._longer(seen.any(2).any(0), gains, 1)
        if not self.takes_maximum:
            area = math.prod(k + sum(gain) for k, gain in zip(self.kernel, gains, strict=True))
            return torch.einsum("ncij,ik,jl->nckl", image, rows.double(), columns.double()) / area
        along = torch.where(rows.T[..., None], image[:, :, None], -math.inf).amax(3)
        return torch.where(columns.T, along[:, :, :, None], -math.inf).amax(4)

    def _longer(self, seen: Tensor, gains: Gains, axis: int) -> Tensor:
        before, after = gains[axis]
        step = self.dilation(axis)
        longer = seen.clone()
        if after:
            longer[step:] |= seen[:-step]
        if before:
            longer[:-step] |= seen[step:]
        return longer


def _attributes(module: Any, kernel: tuple[int, int], gains: Gains) -> dict[str, Any]:
    if not hasattr(module, "kernel_size"):
        return {}
    height, width = map(lambda k, gain: k + sum(gain), kernel, gains)
    return {"kernel_size": (height, width)}


def _proven(subject: _Subject, axes: list[int]) -> Change:
    """Raises `InputError` with the reason if no change is right."""
    found: list[tuple[Edges, tuple[Edges, Edges]]] = [(NONE, (NONE, NONE))] * 2
    for axis in axes:
        found[axis] = _along(subject, axis)
    (row_gain, rows), (column_gain, columns) = found
    gains = Gains(row_gain, column_gain)
    hook = ByParity(gains, subject.fill, rows, columns)
    change = Change(hook, _attributes(subject.module, subject.kernel, gains))
    changed = copied(subject.module)
    change.make(changed, {})
    _prove(subject, change, changed)
    return change


def _along(subject: _Subject, axis: int) -> tuple[Edges, tuple[Edges, Edges]]:
    """Where the new row or column goes, and the edges of maps of even and of odd length."""
    for gain in _PLACES:
        gains = Gains(gain, NONE) if axis == 0 else Gains(NONE, gain)
        grown = subject.grown(gains)
        edges = [_edges(subject, grown, gains, axis, parity) for parity in (0, 1)]
        if edges[0] is not None and edges[1] is not None:
            return gain, (edges[0], edges[1])
    size = " x ".join(str(k + (k % 2)) for k in subject.kernel)
    raise InputError(f"with a kernel of {size} it would compute something else")


def _edges(
    subject: _Subject, grown: nn.Module, gains: Gains, axis: int, parity: int
) -> Edges | None:
    """The least that has to be added to maps whose length has this parity, if anything helps."""
    images = [
        subject.image(*((n, subject.lengths(1)[0]) if axis == 0 else (subject.lengths(0)[0], n)))
        for n in subject.lengths(axis)[:4]
        if n % 2 == parity
    ]
    truths = [subject.expected(image, gains) for image in images]
    most = subject.dilation(axis) + 1
    for edges in sorted(itertools.product(range(most), range(most)), key=sum):
        amounts = [0, 0, *edges] if axis == 0 else [*edges, 0, 0]
        padded = (functional.pad(image, amounts, value=subject.fill) for image in images)
        if all(_agree(grown(i), truth) for i, truth in zip(padded, truths, strict=True)):
            return edges
    return None


def _prove(subject: _Subject, change: Change, changed: nn.Module) -> None:
    for image in _images(subject):
        if not _agree(changed(image), subject.expected(image, change.hook.gains)):
            size = " x ".join(map(str, image.shape[-2:]))
            raise InputError(f"on maps of {size} it would compute something else")
    image = subject.image(subject.lengths(0)[0], subject.lengths(1)[0])
    if left := odd_windows(changed, image):
        raise InputError(f"its kernel is not what it computes with ({left[0]})")
    before, grown = changed(image), kernels(changed)
    for _, _, kernel in grown:
        for part in change.hook.gains.added(kernel):
            part += 1
    if grown and _agree(changed(image), before):
        raise InputError("weights added to its kernel would have no effect")


def _images(subject: _Subject) -> Iterator[Tensor]:
    """Of every combination of even and odd lengths, and of some size."""
    rows, columns = subject.lengths(0), subject.lengths(1)
    larger = [(rows[3], columns[2]), (rows[4], columns[4])]
    for size in [*itertools.product(rows[:2], columns[:2]), *larger]:
        yield subject.image(*size)


def _agree(found: Any, truth: Tensor) -> bool:
    if not isinstance(found, Tensor) or found.shape != truth.shape:
        return False
    close = (found - truth).abs().max() <= _TOLERANCE * truth.abs().max()
    return bool(truth.isfinite().all() and close)
