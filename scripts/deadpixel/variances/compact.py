"""Tensors of which one line is kept of each dimension along which all are equal.

So the expected gradients of all channels of a convolution are one map. A dimension of a compact
tensor has its full length, or 1 for as many equal lines as the shape says.
"""

import math
from collections.abc import Iterable, Sequence

from torch import Tensor


def shrunk(part: Tensor) -> Tensor:
    """One line of each dimension whose lines are all equal; a part without any is left so."""
    for dim in range(part.ndim):
        if part.shape[dim] > 1 and bool((part == (first := part.narrow(dim, 0, 1))).all()):
            part = first
    return part


def full(part: Tensor, shape: Sequence[int], dims: Iterable[int] | None = None) -> Tensor:
    """All lines along `dims`, by default along all."""
    lengths = [*part.shape]
    for dim in range(part.ndim) if dims is None else dims:
        lengths[dim] = shape[dim]
    return part.expand(lengths)


def summed(part: Tensor, shape: Sequence[int], dims: Iterable[int]) -> Tensor:
    """Sum over `dims` of a tensor of `shape`, kept with length 1."""
    for dim in dims:
        equal = shape[dim] if part.shape[dim] == 1 else 1
        part = part.sum(dim, keepdim=True) * equal
    return part


def averaged(part: Tensor, dims: Iterable[int]) -> Tensor:
    """Mean over `dims`, kept with length 1."""
    dims = [*dims]
    return part.mean(dims, keepdim=True) if dims else part


def broadcast_back(part: Tensor, shape: Sequence[int], before: Sequence[int]) -> Tensor:
    """Sum over what broadcasting from shape `before` to `shape` repeated."""
    more = len(shape) - len(before)
    lengths = [1] * more + [*before]
    repeated = [dim for dim in range(len(shape)) if dim < more or lengths[dim] != shape[dim]]
    part = summed(part, shape, repeated)
    return part.reshape(part.shape[more:])


def reshaped(part: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """A compact tensor of shape `before`, viewed as one of shape `after`."""
    expanded: list[int] = []
    viewed: list[int] = []
    i = j = 0
    while i < len(before) or j < len(after):
        k, m = _block(before, after, i, j)
        equal = math.prod(part.shape[i:k]) == 1
        expanded += part.shape[i:k] if equal else before[i:k]
        viewed += [1] * (m - j) if equal else after[j:m]
        i, j = k, m
    return part.expand(expanded).reshape(viewed)


def _block(before: Sequence[int], after: Sequence[int], i: int, j: int) -> tuple[int, int]:
    """Ends of the shortest runs of dimensions from `i` and `j` on that hold equally many."""
    k, m = min(i + 1, len(before)), min(j + 1, len(after))
    while (left := math.prod(before[i:k])) != (right := math.prod(after[j:m])):
        if left < right:
            k += 1
        else:
            m += 1
    return k, m
