"""A change of one kernel: its new rows and columns, and a hook that keeps the output's shape."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .windows import Axis, axes

Edges = tuple[int, int]  # before the first and after the last row or column
NONE: Edges = (0, 0)


class Gains(NamedTuple):
    """How many rows and columns a kernel gains; slicing makes them negative."""

    rows: Edges
    columns: Edges

    def grown(self, kernel: Tensor, value: float = 0.0) -> Tensor:
        """`kernel` (..., h, w) with as many more rows and columns of `value`."""
        return functional.pad(kernel, [*self.columns, *self.rows], value=value)

    def added(self, kernel: Tensor) -> list[Tensor]:
        """The parts of a grown `kernel` that are new."""
        (top, bottom), (left, right) = ((max(0, g[0]), max(0, g[1])) for g in self)
        height, width = kernel.shape[-2] - bottom, kernel.shape[-1] - right
        old_rows = kernel[..., top:height, :]
        rows = [kernel[..., :top, :], kernel[..., height:, :]]
        return [*rows, old_rows[..., :left], old_rows[..., width:]]


class OwnHook:
    """Any by which a changed module computes something else than its class says."""


def is_changed(module: nn.Module) -> bool:
    """Whether a surgery has given it a hook."""
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return any(isinstance(hook, OwnHook) for hook in hooks)


class ChangesMap(OwnHook, ABC):
    """Forward pre-hook that changes the first argument, a map, by whatever name it is given."""

    @abstractmethod
    def changed(self, module: Any, feature_map: Tensor) -> Tensor:
        """What the module gets instead of `feature_map`, ([N,] C, h, w)."""

    def register(self, module: nn.Module) -> None:
        """From now on `module` gets changed maps."""
        module.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(
        self, module: nn.Module, arguments: tuple, named: dict[str, Any]
    ) -> tuple[tuple, dict[str, Any]]:
        """All arguments, the first of which is changed."""
        if arguments:
            return (self.changed(module, arguments[0]), *arguments[1:]), named
        first = [name for name in inspect.signature(module.forward).parameters if name in named][:1]
        return (), named | {name: self.changed(module, named[name]) for name in first}


@dataclass(frozen=True)
class KeepsOutputShape(ChangesMap):
    """Of a changed kernel: pads or crops the map, so that no output is lost."""

    gains: Gains
    fill: float

    @abstractmethod
    def edges(self, module: Any, lengths: torch.Size) -> tuple[Edges, Edges]:
        """What to add to the rows and to the columns of a map of such `lengths`."""

    def changed(self, module: Any, feature_map: Tensor) -> Tensor:
        """The map with what is missing."""
        rows, columns = self.edges(module, feature_map.shape[-2:])
        amounts = [*columns, *rows]
        if not any(amounts):
            return feature_map
        return functional.pad(feature_map, amounts, value=self.fill)


@dataclass(frozen=True)
class ByGeometry(KeepsOutputShape):
    """Of a plain module, which was `old`: by the rule for outputs, right and at the bottom."""

    old: tuple[Axis, Axis]
    ceil_mode: bool

    def edges(self, module: Any, lengths: torch.Size) -> tuple[Edges, Edges]:  # noqa: D102
        rows, columns = map(self._missing, self.old, axes(module), lengths)
        return (0, rows), (0, columns)

    def _missing(self, before: Axis, now: Axis, length: int) -> int:
        missing = now.span(before.outputs(length, self.ceil_mode)) - length - 2 * now.padding
        # less than a step too many makes no further output, and may lie in the module's own padding
        return 0 if -now.stride < missing < 0 else missing


@dataclass(frozen=True)
class ByParity(KeepsOutputShape):
    """Of any module: what a trial found to add to maps of even and of odd length, for each axis."""

    rows: tuple[Edges, Edges]
    columns: tuple[Edges, Edges]

    def edges(self, module: Any, lengths: torch.Size) -> tuple[Edges, Edges]:  # noqa: D102
        height, width = lengths
        return self.rows[height % 2], self.columns[width % 2]


@dataclass(frozen=True)
class Averages(ChangesMap):
    """Means of 2 x 2 places, at the border of those that there are."""

    def changed(self, module: Any, feature_map: Tensor) -> Tensor:
        """A map of half as many rows and columns."""
        return functional.avg_pool2d(feature_map, 2, ceil_mode=True, count_include_pad=False)


@dataclass(frozen=True)
class Change:
    """All that is changed in one module: its kernel, other attributes, a hook."""

    hook: KeepsOutputShape
    attributes: Mapping[str, Any]

    def make(self, module: nn.Module, grown: dict[nn.Parameter, nn.Parameter]) -> None:
        """Change `module` itself; `grown` holds new kernels by old ones: tied ones stay tied."""
        grow(module, self.hook.gains, grown)
        for name, value in self.attributes.items():
            setattr(module, name, value)
        self.hook.register(module)


def grow(module: nn.Module, gains: Gains, grown: dict[nn.Parameter, nn.Parameter]) -> None:
    """Give `module` larger kernels, each from `grown` if it is there."""
    for owner, name, kernel in kernels(module):
        if kernel not in grown:
            new = gains.grown(kernel.detach())
            grown[kernel] = nn.Parameter(new, requires_grad=kernel.requires_grad)
        setattr(owner, name, grown[kernel])
    recompute(module)


def kernels(module: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Each parameter that has the shape of the kernel, by its owner and name.

    It is the kernel itself, or what PyTorch's parametrisation or weight norm computes it from.
    """
    shape = getattr(getattr(module, "weight", None), "shape", None)
    parametrised = getattr(getattr(module, "parametrizations", None), "weight", None)
    return [
        (owner, name, parameter)
        for owner in (module, parametrised)
        if owner is not None
        for name, parameter in owner.named_parameters(recurse=False)
        if parameter.shape == shape
    ]


def is_pytorchs(hook: Any) -> bool:
    """Whether a hook is one by which PyTorch computes a weight before each call."""
    return type(hook).__module__.startswith("torch.nn.utils.")


def draw(module: nn.Module, drawn: set[nn.Parameter]) -> None:
    """Initialise kernel and bias as `nn.Conv2d` does, but those in `drawn`, which then has them.

    On the CPU: its generator is the one that is seeded and restored.
    """
    bias = module._parameters.get("bias")
    for _, _, kernel in kernels(module):
        if kernel not in drawn:
            values = torch.empty(kernel.shape, dtype=kernel.dtype)
            kernel.data.copy_(nn.init.kaiming_uniform_(values, a=math.sqrt(5)))
        if bias is not None and bias not in drawn:
            bound = kernel[0].numel() ** -0.5
            bias.data.copy_(torch.empty(bias.shape, dtype=bias.dtype).uniform_(-bound, bound))
        drawn |= {kernel} if bias is None else {kernel, bias}
    recompute(module)


def recompute(module: nn.Module) -> None:
    """Bring a weight up to date that a hook of PyTorch computes before each call."""
    for hook in filter(is_pytorchs, module._forward_pre_hooks.values()):
        hook(module, ())
