"""What a network makes of images at the places asked for, and copies of it that are fit for that.

An image's effective receptive field is only defined if its features depend on that image and on
nothing else: not on chance, on what the network saw before or on the images beside it.
"""

import contextlib
import copy
import difflib
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .errors import InputError, in_one_line
from .logs import log
from .networks.folding import fold_batch_norms
from .networks.forward import forward, logits

Places = Mapping[str, tuple[int, int] | None]  # of targets; None: the centre (h // 2, w // 2)
_MOST_NAMES = 12  # in a message
_TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}  # of features, relative; 0.1 for others


def check_targets(targets: Iterable[str], modules: Iterable[str]) -> list[str]:
    """`targets` as a list; raises `InputError` for one that is not among `modules`."""
    targets, modules = list(targets), [*modules]
    for target in targets:
        if target not in modules:
            near = _similar(target, modules)
            top = [name for name in modules if "." not in name]
            raise InputError(
                f"unknown target {target!r}: "
                + (f"did you mean {' or '.join(near)}? " if near else "")
                + f"The network has {', '.join(top[:_MOST_NAMES])}"
                + (f" and {len(top) - _MOST_NAMES} more" if len(top) > _MOST_NAMES else "")
                + ", and the modules within them: name one under targets or models.NAME.targets"
            )
    return targets


def _similar(target: str, modules: Sequence[str]) -> list[str]:
    """Modules whose whole name, or else its last part, is nearly `target`'s."""
    last = target.rpartition(".")[2]
    by_last_part: dict[str, str] = {}
    for name in modules:
        by_last_part.setdefault(name.rpartition(".")[2], name)
    near = difflib.get_close_matches(target, modules, 3, 0.75)
    ends = difflib.get_close_matches(last, by_last_part, 3, 0.75)
    return near or [by_last_part[end] for end in ends]


def features(model: nn.Module, images: Tensor, places: Places) -> dict[str, Tensor]:
    """Features (N, C) of each target at its place, logits (N, classes) of ``output``.

    Raises `InputError` if a module is not called once, yields no map (N, C, h, w) of floating-point
    numbers, or if the network fails.
    """
    found: dict[str, Tensor] = {}
    with contextlib.ExitStack() as hooks:
        for target in places.keys() - {"output"}:
            hook = functools.partial(_record, found, target, places[target])
            handle = model.get_submodule(target).register_forward_hook(hook)
            hooks.callback(handle.remove)
        output = forward(model, images.clone())  # it may change them in place
    if "output" in places:
        found["output"] = READERS["logits"](output, "output", None)
    for target in places:
        if target not in found:
            raise InputError(
                f"target {target!r} is never called in a forward pass: choose another one"
            )
        if not found[target].is_floating_point():
            raise InputError(
                f"target {target!r} yields {found[target].dtype}, no real numbers: "
                "choose another module"
            )
        if found[target].is_meta or found[target].layout != torch.strided:
            raise InputError(
                f"target {target!r} yields a {found[target].layout} map on {found[target].device}, "
                "no dense one: choose another module"
            )
        if len(found[target]) != len(images):
            raise InputError(
                f"target {target!r} yields {len(found[target])} maps of {len(images)} images: "
                "choose another module"
            )
    return {target: found[target] for target in places}


def _record(
    found: dict[str, Tensor],
    target: str,
    place: tuple[int, int] | None,
    _module: nn.Module,
    _arguments: Any,
    output: Any,
) -> None:
    """Forward hook; copies the place at once, before an operation in place changes the map."""
    if target in found:
        raise InputError(f"target {target!r} is called more than once: choose another module")
    found[target] = READERS["nchw"](output, target, place).clone()


def _of_map(output: Any, target: str, place: tuple[int, int] | None) -> Tensor:
    """Features (N, C) at a place of a map (N, C, h, w)."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output)
        raise InputError(
            f"target {target!r} yields {shape}, no map (N, C, h, w): choose another module"
        )
    height, width = output.shape[2:]
    i, j = place or (height // 2, width // 2)
    if not (0 <= i < height and 0 <= j < width):
        raise InputError(
            f"position {(i, j)} is outside target {target!r} of {height} x {width}: choose another"
        )
    return output[:, :, i, j]


def _of_logits(output: Any, _target: str, _place: None) -> Tensor:
    return logits(output)


# How what a module yields is read, as features (N, C) of a target at a place.
READERS = {"nchw": _of_map, "logits": _of_logits}


def prepared(
    model: nn.Module, images: Tensor, places: Places, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """A copy of `model` in evaluation mode, without gradients of weights, proved right and fast.

    Its batch norms are folded and its convolutions channels last, which is 1.1 to 1.4 times as fast
    on CPUs (docs/performance.md), if it then yields the same features of `images`, (2, 3, H, W) of
    those to come, in float64. Raises `InputError` if the features of an image depend on anything
    else than the image.
    """
    if any(map(is_lazy, itertools.chain(model.parameters(), model.buffers()))):
        raise InputError(
            "the network has lazy modules, whose weights do not exist yet: let its factory call it "
            "once on an image before it returns it"
        )
    plain = _copy(model, device, dtype)
    rough = features(plain, images.to(device, dtype), places)
    exact_images = images.to(device, torch.float64)
    exact = _copy(model, device, torch.float64)
    try:
        truth = features(exact, exact_images, places)
    except InputError as error:  # some networks cast to float32 on their way
        log.info("batch norms are not folded, which is slower: in float64 %s", error)
        fresh = _copy(model, device, dtype)
        _check_steady(plain, fresh, images.to(device, dtype), places, rough)
        return plain
    _check_steady(exact, _copy(model, device, torch.float64), exact_images, places, truth)
    for target in _differing(rough, truth, _TOLERANCES[torch.float32]):
        log.warning(
            "the features of target %r differ by %.2g from those in float64: the network computes "
            "in half precision, or needs `erf.dtype: float64`",
            target,
            _distance(rough, truth, target),
        )
    fold_batch_norms(exact, keep=places)
    if device.type == "cpu":
        for module in exact.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    try:
        changed = [*_differing(features(exact, exact_images, places), truth)]
    except InputError as error:  # views of maps whose layout it takes for granted
        changed = [str(error)]
    if changed:
        log.info("batch norms are not folded, which is slower: it would change %s", changed[0])
        return plain
    return _cast(exact, dtype)


def check_independent(model: nn.Module, images: Tensor) -> None:
    """Raise `InputError` if an image's logits depend on anything but that image, as it stands.

    images: (N, 3, H, W), a few; `model`, in evaluation mode, is called on them, so that what it
    keeps between calls shows.
    """
    places = {"output": None}
    _check_steady(model, model, images, places, features(model, images, places))


def _copy(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    try:
        copied = copy.deepcopy(model).to(device).eval().requires_grad_(False)
    except Exception as error:  # the user's own code
        raise InputError(
            f"the network cannot be copied ({in_one_line(error)}): keep no results of a forward "
            "pass in its attributes"
        ) from error
    return _cast(copied, dtype)


def _cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Complex weights stay complex, which `nn.Module.to` would make real."""
    return {torch.float32: model.float, torch.float64: model.double}[dtype]()


def _check_steady(
    model: nn.Module,
    fresh: nn.Module,
    images: Tensor,
    places: Places,
    first: Mapping[str, Tensor],
) -> None:
    """`fresh` is a copy of `model` that has seen no image; `model` made `first` of `images`."""
    again = features(model, images, places)
    for target in _differing(again, first):
        raise InputError(
            f"the features of target {target!r} differ by {_distance(again, first, target):.2g} "
            "between two passes of the same images: let the network neither draw numbers nor keep "
            "anything between calls in evaluation mode"
        )
    one_by_one = [features(fresh, image, places) for image in images.split(1)]
    alone = {target: torch.cat([found[target] for found in one_by_one]) for target in places}
    for target in _differing(alone, first):
        raise InputError(
            f"the features of target {target!r} of an image differ by "
            f"{_distance(alone, first, target):.2g} with the images beside it: let the network "
            "not mix the images of a batch in evaluation mode"
        )


def _differing(
    found: Mapping[str, Tensor], truth: Mapping[str, Tensor], tolerance: float | None = None
) -> Iterator[str]:
    """Targets whose features differ by more than rounding."""
    for target, features_of in truth.items():
        allowed = tolerance or _TOLERANCES.get(features_of.dtype, 0.1)
        if _distance(found, truth, target) > allowed:
            yield target


def _distance(found: Mapping[str, Tensor], truth: Mapping[str, Tensor], target: str) -> float:
    """L2 norm of the difference over that of the truth; what is not a number in both is equal."""
    ours, theirs = found[target].detach().double(), truth[target].detach().double()
    difference = (ours - theirs).nan_to_num()
    return float(difference.norm() / theirs.nan_to_num().norm()) if difference.any() else 0.0
