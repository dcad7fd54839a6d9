"""Kernel padding and slicing: odd kernels with stride 2 become even (Kim et al. 2023).

An odd kernel with stride 2 meets every other pixel once more than its neighbours; an even one meets
all equally often. A changed module stays the plain one it was: a hook in front of it pads the map
on the right and at the bottom, so that the output keeps its shape at every input size.
"""

import copy
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from .data import draws
from .errors import InputError
from .logs import log

Init = Literal["zero", "random"]
Operation = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
ODD = "odd"  # the kernels of a network as it is


class _Axis(NamedTuple):
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


def apply(model: nn.Module, kernels: str, *, init: Init = "zero", seed: int = 0) -> nn.Module:
    """`model` itself for kernels ``odd``, else a copy changed by the one of `SURGERIES`.

    Raises `InputError` for another name, and if there is nothing to change.
    """
    if kernels == ODD:
        return model
    if kernels not in SURGERIES:
        known = ", ".join(SURGERIES)
        raise InputError(f"unknown kernels {kernels!r}: choose {ODD} or one of {known}")
    changed, names = SURGERIES[kernels](model, init, seed=seed)
    if not names:
        raise InputError(
            f"kernels {kernels!r}: {type(model).__name__} has no odd kernel with stride 2 that can "
            "be changed; use kernels 'odd'"
        )
    return changed


def pad(model: nn.Module, init: Init = "zero", *, seed: int = 0) -> tuple[nn.Module, list[str]]:
    """A copy whose odd kernels with stride 2 have one more column right and row at the bottom.

    init: ``zero`` keeps the old weights and adds zeros, so that no convolution changes what it
        computes; ``random`` redraws the whole kernel and its bias, as `nn.Conv2d` does, from
        `seed` and the name of the module alone, whatever other modules are changed.

    Returns the copy and the names of the changed modules. Those that cannot be changed are left as
    they are, with a warning. `model` and the state of PyTorch's generator are left as they were.
    """
    return _changed(model, slicing=False, init=init, seed=seed)


def slice(  # noqa: A001
    model: nn.Module, init: Init = "zero", *, seed: int = 0
) -> tuple[nn.Module, list[str]]:
    """As `pad`, but kernels lose a row and a column; those of 1 x 1 grow to 2 x 2.

    Where there is padding it is reduced to match, and the first row and column are dropped, so that
    the others stay on their pixels; elsewhere the last ones are dropped.
    """
    return _changed(model, slicing=True, init=init, seed=seed)


SURGERIES = {"padded": pad, "sliced": slice}


def added_weights(model: nn.Module) -> Tensor:
    """The weights that `pad` or `slice` added to the convolutions of `model`, flattened."""
    borders = [torch.empty(0)]
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(module, nn.Conv2d) and keeps_output_shape(hook):
                height, width = (axis.kernel for axis in hook.args[0])
                weight = module.weight.detach().cpu()
                borders += [weight[..., height:, :], weight[..., :height, width:]]
    return torch.cat([border.flatten() for border in borders])


def odd_strided(model: nn.Module, image: Tensor) -> list[str]:
    """The convolutions and pools with an odd kernel and stride 2, as text, in the order of calls.

    Among them are functions that no change of modules can reach. `image` is (N, 3, H, W).
    """
    with torch.no_grad(), ModuleTracker() as tracker, _OddStrided(tracker) as mode:
        copy.deepcopy(model).eval()(image)
    return mode.found


class _OddStrided(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled here, and skipping would import PyTorch's whole compiler."""
        return False

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()
        self.tracker = tracker
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kernel, stride = _window(func.overloadpacket, args)
        if any(map(_is_odd_strided, kernel, stride)):
            sizes = ", stride ".join(" x ".join(map(str, sizes)) for sizes in (kernel, stride))
            caller = max(self.tracker.parents - {"Global"}, key=len)
            self.found.append(f"{caller}: {func.overloadpacket.__name__} {sizes}")
        return func(*args, **(kwargs or {}))


def _window(operation: Any, args: tuple) -> tuple[Sequence[int], Sequence[int]]:
    """Kernel and stride of an ATen operation, where it has them and is not transposed."""
    aten = torch.ops.aten
    if operation is aten.convolution and not args[6]:
        return args[1].shape[2:], args[3]
    if operation in (aten.max_pool2d_with_indices, aten.avg_pool2d) and len(args) > 2:
        return args[1], args[2]
    return (), ()


def _changed(
    model: nn.Module, *, slicing: bool, init: Init, seed: int
) -> tuple[nn.Module, list[str]]:
    model = copy.deepcopy(model)
    names = []
    for name, module in model.named_modules():
        if not isinstance(module, Operation):
            continue
        changes = [_change(axis, slicing) for axis in _axes(module)]
        if not any(map(any, changes)):
            continue
        if reason := _obstacle(module, slicing):
            log.warning("%s (%s) keeps its odd kernel: %s", name, type(module).__name__, reason)
            continue
        _resize(module, *changes)
        if init == "random" and isinstance(module, nn.Conv2d):
            with draws.initialising(seed, draws.Purpose.KERNELS, name):
                _draw(module)
        names.append(name)
    return model, names


def _is_odd_strided(kernel: int, stride: int) -> bool:
    return kernel % 2 == 1 and stride == 2


def _change(axis: _Axis, slicing: bool) -> tuple[int, int]:
    """How many rows or columns a kernel gains before its first and after its last."""
    if not _is_odd_strided(axis.kernel, axis.stride):
        return 0, 0
    if not slicing or axis.kernel == 1:
        return 0, 1
    return (-1, 0) if axis.padding else (0, -1)


def _obstacle(module: Operation, slicing: bool) -> str | None:
    """Why the kernel cannot change, if so."""
    if type(module) not in (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d):
        return "it is a class of its own, which may compute something else"
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            return f"its padding_mode is {module.padding_mode!r}"
        if isinstance(module.padding, str) and module.padding != "valid":
            return f"its padding is {module.padding!r}"
        if not isinstance(module.weight, nn.Parameter):
            return "its weight is computed from other parameters"
    elif isinstance(module, nn.AvgPool2d):
        if module.ceil_mode or module.divisor_override or not module.count_include_pad:
            return "its divisor is not the size of the window"
    elif module.return_indices:
        return "its indices would not fit the map"
    if slicing and any(0 < axis.padding < axis.dilation for axis in _axes(module)):
        return "its padding is smaller than its dilation"
    if slicing and getattr(module, "ceil_mode", False) and any(_pair(module.padding)):
        return "with ceil_mode and padding a smaller window could miss the map"
    return None


def _resize(module: Operation, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Give the kernel what `_change` says, and the module a hook that knows what it was."""
    axes, changes = _axes(module), (rows, columns)
    fill = -math.inf if isinstance(module, nn.MaxPool2d) else 0.0
    ceil_mode = getattr(module, "ceil_mode", False)
    hook = functools.partial(_keep_output_shape, axes, ceil_mode, fill)
    module.register_forward_pre_hook(hook)
    height, width = map(lambda axis, gain: axis.kernel + sum(gain), axes, changes)
    module.kernel_size = height, width
    if isinstance(module, nn.Conv2d):
        weight = functional.pad(module.weight.detach(), [*columns, *rows])
        module.weight = nn.Parameter(weight, requires_grad=module.weight.requires_grad)
    else:
        module.ceil_mode = False
    if rows[0] or columns[0]:
        above, left = map(lambda axis, gain: axis.padding + axis.dilation * gain[0], axes, changes)
        module.padding = above, left


def _draw(module: nn.Conv2d) -> None:
    """Initialise on the CPU: its generator is the one that is seeded and restored."""
    device = module.weight.device
    module.cpu().reset_parameters()
    module.to(device)


def _keep_output_shape(
    old: Sequence[_Axis],
    ceil_mode: bool,
    fill: float,
    module: Operation,
    arguments: tuple[Tensor],
) -> tuple[Tensor] | None:
    """Forward pre-hook: pads or crops right and bottom to have as many outputs as of `old`."""
    (feature_map,) = arguments
    amounts: list[int] = []
    for before, now, length in zip(old, _axes(module), feature_map.shape[-2:], strict=True):
        outputs = before.outputs(length, ceil_mode)
        missing = now.span(outputs) - length - 2 * now.padding
        # less than a step too many makes no further output, and may lie in the module's own padding
        amounts = [0, 0 if -now.stride < missing < 0 else missing, *amounts]
    return (functional.pad(feature_map, amounts, value=fill),) if any(amounts) else None


def keeps_output_shape(hook: Any) -> bool:
    """Whether a forward pre-hook is the one that a changed kernel has."""
    return isinstance(hook, functools.partial) and hook.func is _keep_output_shape


def _axes(module: Operation) -> tuple[_Axis, _Axis]:
    """Geometry along rows and columns; padding that is text is ``valid``, none."""
    padding = 0 if isinstance(module.padding, str) else module.padding
    sizes = (module.kernel_size, module.stride, padding, getattr(module, "dilation", 1))
    rows, columns = zip(*map(_pair, sizes), strict=True)
    return _Axis(*rows), _Axis(*columns)


def _pair(value: Any) -> tuple[int, int]:
    """Rows and columns of an attribute that may be one number for both."""
    rows, columns = (value, value) if isinstance(value, int) else value
    return rows, columns
