"""Kernel padding and slicing: odd kernels with stride 2 become even (Kim et al. 2023).

An odd kernel with stride 2 meets every other pixel once more than its neighbours; an even one meets
all equally often. A changed module keeps its class: a hook in front of it pads the map, so that the
output keeps its shape at every input size. Other cures, and arms that tell causes apart, are
further surgeries.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .copies import copied
from .data import draws
from .errors import InputError, naming
from .logs import log
from .surgery import blur, plain, ties, trial
from .surgery.changes import Averages, Change, KeepsOutputShape, draw, is_changed
from .surgery.kinds import ALL, KINDS
from .surgery.selection import Selection, chosen
from .surgery.windows import evaluating, has_stride_two, odd_windows

Init = Literal["zero", "random"]
ChangeOf = Callable[[nn.Module], Change | str | None]  # or why it cannot, or nothing to do


def apply(
    model: nn.Module,
    kind: str,
    surgeries: Mapping[str, Selection] | None = None,
    *,
    init: Init = "zero",
    seed: int = 0,
    image: Tensor | None = None,
) -> nn.Module:
    """`model` itself where there are no `surgeries`, else a copy changed by each in turn.

    kind: what they are called; those of `KINDS` need not be said. surgeries: by the names of
    `SURGERIES`, each with a `Selection`: the modules that it is for. image: (N, C, H, W), black and
    of 224 px by default, which a selection by stride is read with.

    Raises `InputError` for another name or selection, and if there is nothing to change.
    """
    surgeries = _known(kind) if surgeries is None else surgeries
    image = torch.zeros(1, 3, 224, 224) if image is None else image
    for name, selection in surgeries.items():
        with naming(f"kernels.{kind}.{name}"):
            if name not in SURGERIES:
                raise InputError(f"there is no such surgery: use {', '.join(SURGERIES)}")
            model, changed = SURGERIES[name](model, selection, init, seed, image)
            if not changed:
                raise InputError(
                    f"{type(model).__name__} has no kernel with stride 2 that can be changed; "
                    f"take {kind!r} out of the experiment's kernels (finetune.kernels, "
                    "microobject.kernels) or this network out of its models"
                )
    return model


def _known(kind: str) -> Mapping[str, Selection]:
    if kind not in KINDS:
        raise InputError(f"unknown kernels {kind!r}: choose one of {', '.join(KINDS)}")
    return KINDS[kind]


def pad(model: nn.Module, init: Init = "zero", *, seed: int = 0) -> tuple[nn.Module, list[str]]:
    """A copy whose odd kernels with stride 2 have one more column right and row at the bottom.

    init: ``zero`` keeps the old weights and adds zeros, so that no convolution changes what it
        computes; ``random`` redraws the whole kernel and its bias, as `nn.Conv2d` does, from
        `seed` and the name of the module alone, whatever other modules are changed.

    Returns the copy and the names of the changed modules. Those that cannot be changed are left as
    they are, with a warning. `model` and the state of PyTorch's generator are left as they were.
    """
    return _resized(model, ALL, init, seed, torch.empty(0), change_of=_padding_of)


def slice(  # noqa: A001
    model: nn.Module, init: Init = "zero", *, seed: int = 0
) -> tuple[nn.Module, list[str]]:
    """As `pad`, but kernels lose a row and a column; those of 1 x 1 grow to 2 x 2.

    Where there is padding it is reduced to match, and the first row and column are dropped, so that
    the others stay on their pixels; elsewhere the last ones are dropped.
    """
    return _resized(model, ALL, init, seed, torch.empty(0), change_of=_slicing_of)


def added_weights(model: nn.Module) -> Tensor:
    """The weights that surgeries added to the convolutions of `model`, flattened."""
    borders = [torch.empty(0)]
    for module in model.modules():
        weight = getattr(module, "weight", None)
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, KeepsOutputShape) and isinstance(weight, Tensor):
                borders += hook.gains.added(weight.detach().cpu())
    return torch.cat([border.flatten() for border in borders])


def odd_strided(model: nn.Module, image: Tensor) -> list[str]:
    """The convolutions and pools with an odd kernel and stride 2, as text, in the order of calls.

    Among them are functions that no change of modules can reach. `image` is (N, 3, H, W).
    """
    return [str(window) for window in odd_windows(model, image)]


def _resized(
    model: nn.Module,
    selection: Selection,
    init: Init,
    seed: int,
    image: Tensor,
    *,
    change_of: ChangeOf,
) -> tuple[nn.Module, list[str]]:
    model = copied(model)
    with evaluating(model):  # while it is trained, looking at a weight may change what makes it
        changes = _chosen(model, selection, image, change_of)
        grown: dict[nn.Parameter, nn.Parameter] = {}
        for name, change in changes.items():
            change.make(model.get_submodule(name), grown)
        if init == "random":
            _draw(model, changes, seed)
    return model, [*changes]


def _redrawn(
    model: nn.Module, selection: Selection, init: Init, seed: int, image: Tensor
) -> tuple[nn.Module, list[str]]:
    """Odd kernels, drawn as `pad` draws those that it changes: by none, if it draws none."""
    model = copied(model)
    with evaluating(model):
        names = [*_chosen(model, selection, image, _padding_of)]
        if init == "random":
            _draw(model, names, seed)
    return model, names


def _averaged(
    model: nn.Module, selection: Selection, _init: Init, _seed: int, image: Tensor
) -> tuple[nn.Module, list[str]]:
    """1 x 1 convolutions with stride 2 read the mean of 2 x 2 places instead of one of them."""
    model = copied(model)
    strided = [name for name, module in model.named_modules() if plain.is_one_of_four(module)]
    names = chosen(selection, strided, model, image) if strided else []
    for name in names:
        module: Any = model.get_submodule(name)
        module.stride = (1, 1)
        Averages().register(module)
    return model, names


def _blurred(
    model: nn.Module, selection: Selection, _init: Init, _seed: int, image: Tensor, *, taps: int
) -> tuple[nn.Module, list[str]]:
    """Convolutions and max-pools with stride 2 compute at stride 1, and a blur takes the stride."""
    model = copied(model)
    with evaluating(model):
        strided = [name for name, module in model.named_modules() if has_stride_two(module)]
    obstacles = {name: blur.obstacle(model.get_submodule(name)) for name in strided}
    _say(model, {name: reason for name, reason in obstacles.items() if reason})
    possible = [name for name in strided if not obstacles[name]]
    names = chosen(selection, possible, model, image) if possible else []
    for name in names:
        blur.blur(model.get_submodule(name), taps)
    return model, names


def _padding_of(module: nn.Module) -> Change | str | None:
    if plain.is_plain(module):
        return plain.change_of(module, slicing=False)
    return trial.change_of(module)


def _slicing_of(module: nn.Module) -> Change | str | None:
    if plain.is_plain(module):
        return plain.change_of(module, slicing=True)
    found = trial.change_of(module)
    return "it is a class of its own, which slicing does not try" if found else None


def _unfolding_of(module: nn.Module) -> Change | str | None:
    if plain.is_plain(module):
        changed_before = has_stride_two(module) and is_changed(module)
        return "another surgery has changed it" if changed_before else plain.unfolding_of(module)
    if isinstance(module, nn.MaxPool2d) or not has_stride_two(module):
        return None
    return "it is a class of its own, which space to depth does not try"


SURGERIES: dict[str, Callable[..., tuple[nn.Module, list[str]]]] = {
    "pad": functools.partial(_resized, change_of=_padding_of),
    "slice": functools.partial(_resized, change_of=_slicing_of),
    "redraw": _redrawn,
    "average": _averaged,
    "blur3": functools.partial(_blurred, taps=3),
    "blur4": functools.partial(_blurred, taps=4),
    "space_to_depth": functools.partial(_resized, change_of=_unfolding_of),
}


def _draw(model: nn.Module, names: Iterable[str], seed: int) -> None:
    drawn: set[nn.Parameter] = set()
    for name in names:
        with draws.initialising(seed, draws.Purpose.KERNELS, name):
            draw(model.get_submodule(name), drawn)


def _chosen(
    model: nn.Module, selection: Selection, image: Tensor, change_of: ChangeOf
) -> dict[str, Change]:
    changes = _possible(model, change_of)
    names = chosen(selection, [*changes], model, image) if changes else []
    untied = ties.broken(model, {name: changes[name] for name in names})
    _say(model, untied)
    return {name: changes[name] for name in names if name not in untied}


def _possible(model: nn.Module, change_of: ChangeOf) -> dict[str, Change]:
    """Of each module whose kernel can change, by name; others that should are logged."""
    changes: dict[str, Change] = {}
    reasons: dict[str, str] = {}
    for name, module in model.named_modules():
        found = change_of(module)
        if isinstance(found, Change):
            changes[name] = found
        elif found:
            reasons[name] = found
    _say(model, reasons)
    return changes


def _say(model: nn.Module, reasons: Mapping[str, str]) -> None:
    for name, reason in reasons.items():
        kind = type(model.get_submodule(name)).__name__
        log.warning("%s (%s) stays as it is: %s", name, kind, reason)
