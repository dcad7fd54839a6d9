"""Kernel padding and slicing: odd kernels with stride 2 become even (Kim et al. 2023).

An odd kernel with stride 2 meets every other pixel once more than its neighbours; an even one meets
all equally often. A changed module keeps its class: a hook in front of it pads the map, so that the
output keeps its shape at every input size.
"""

from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor, nn

from .data import draws
from .errors import InputError
from .logs import log
from .surgery import plain, ties, trial
from .surgery.changes import Change, KeepsOutputShape, draw
from .surgery.windows import copied, evaluating, odd_windows

Init = Literal["zero", "random"]
ODD = "odd"  # the kernels of a network as it is


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
            f"be changed; take {kernels!r} out of the experiment's kernels (finetune.kernels, "
            "microobject.kernels) or this network out of its models"
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
        for hook in filter(keeps_output_shape, module._forward_pre_hooks.values()):
            if isinstance(weight := getattr(module, "weight", None), Tensor):
                borders += hook.gains.added(weight.detach().cpu())
    return torch.cat([border.flatten() for border in borders])


def odd_strided(model: nn.Module, image: Tensor) -> list[str]:
    """The convolutions and pools with an odd kernel and stride 2, as text, in the order of calls.

    Among them are functions that no change of modules can reach. `image` is (N, 3, H, W).
    """
    return [str(window) for window in odd_windows(model, image)]


def keeps_output_shape(hook: Any) -> TypeGuard[KeepsOutputShape]:
    """Whether a forward pre-hook is the one that a changed kernel has."""
    return isinstance(hook, KeepsOutputShape)


def _changed(
    model: nn.Module, *, slicing: bool, init: Init, seed: int
) -> tuple[nn.Module, list[str]]:
    model = copied(model)
    with evaluating(model):  # while it is trained, looking at a weight may change what makes it
        changes = _possible(model, slicing)
        grown: dict[nn.Parameter, nn.Parameter] = {}
        drawn: set[nn.Parameter] = set()
        for name, change in changes.items():
            module = model.get_submodule(name)
            change.make(module, grown)
            if init == "random":
                with draws.initialising(seed, draws.Purpose.KERNELS, name):
                    draw(module, drawn)
    return model, [*changes]


def _possible(model: nn.Module, slicing: bool) -> dict[str, Change]:
    """Of each module whose kernel can change, by name; the others with an odd one are logged."""
    changes: dict[str, Change] = {}
    reasons: dict[str, str] = {}
    for name, module in model.named_modules():
        found = _change_of(module, slicing)
        if isinstance(found, Change):
            changes[name] = found
        elif found:
            reasons[name] = found
    reasons |= ties.broken(model, changes)
    for name, reason in reasons.items():
        kind = type(model.get_submodule(name)).__name__
        log.warning("%s (%s) keeps its odd kernel: %s", name, kind, reason)
    return {name: change for name, change in changes.items() if name not in reasons}


def _change_of(module: nn.Module, slicing: bool) -> Change | str | None:
    if plain.is_plain(module):
        return plain.change_of(module, slicing=slicing)
    found = trial.change_of(module)
    return "it is a class of its own, which slicing does not try" if slicing and found else found
