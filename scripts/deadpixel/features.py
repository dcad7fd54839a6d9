"""What a network makes of images at the places asked for, and copies of it that are fit for that.

An image's effective receptive field is only defined if its features depend on that image and on
nothing else: not on chance, on what the network saw before or on the images beside it.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from .copies import copied
from .errors import InputError, in_the_users_code
from .logs import log
from .networks.folding import fold_batch_norms
from .networks.forward import described, forward, logits, tensor_of
from .targets import OUTPUT, Target, feature

Targets = Mapping[str, Target]
_ZERO = 1e-12  # a mean over channels, relative to their sizes, in float64
_TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}  # of features, relative; 0.1 for others
_SINGLE = 1e-5  # by which features in float64 differ at most where a part of them is of float32


def features(model: nn.Module, images: Tensor, targets: Targets) -> dict[str, Tensor]:
    """Features (N, C) of each target at its place; of ``output`` logits (N, classes).

    The layout of each target is known. Raises `InputError` if a module is not called as the target
    says, yields no such map of floating-point numbers, or if the network fails.
    """
    return observed(
        model,
        images,
        targets,
        # copied at once, before an operation in place changes the map
        lambda tensor, name, target: feature(tensor, name, target).clone(),
    )


def observed(
    model: nn.Module,
    images: Tensor,
    targets: Targets,
    read: Callable[[Tensor, str, Target], Tensor],
) -> dict[str, Tensor]:
    """What `read(tensor, name, target)` makes of the tensor that each target's module yields."""
    found: dict[str, Tensor] = {}
    with contextlib.ExitStack() as hooks:
        for name, target in targets.items():
            if target.module != OUTPUT:
                record = _Recorder(found, name, target, read)
                module = model.get_submodule(target.module)
                hooks.callback(module.register_forward_hook(record).remove)
        if len(images) == 1:
            for norm in (module for module in model.modules() if isinstance(module, _NormBase)):
                hooks.callback(norm.register_forward_hook(_keep_gradient_right).remove)
        output = forward(model, images.clone())  # it may change them in place
    for name, target in targets.items():
        if target.module == OUTPUT:
            part = _of_output(output, name, target, of_shapes=images.is_meta)
            found[name] = read(part, name, target)
        if name not in found:
            raise InputError(
                f"target {name!r} is never called in a forward pass: choose another one"
                if not target.call
                else f"target {name!r} has no call {target.call}: they are counted from 0"
            )
        _check(name, found[name], images)
    return {name: found[name] for name in targets}


def _keep_gradient_right(_norm: nn.Module, _arguments: Any, output: Any) -> None:
    """Forward hook of batch and instance norms, for one image.

    PyTorch 2.15 takes a gradient that arrives as tokens for one of channels first and yields
    another one without a word, on CPUs, if the image is alone.
    """
    if isinstance(output, Tensor) and output.requires_grad:
        output.register_hook(_in_one_piece)


def _in_one_piece(gradient: Tensor) -> Tensor:
    return gradient if gradient.stride(0) == gradient[0].numel() else gradient.contiguous()


class _Recorder:
    """Forward hook."""

    def __init__(
        self,
        found: dict[str, Tensor],
        name: str,
        target: Target,
        read: Callable[[Tensor, str, Target], Tensor],
    ) -> None:
        self._found, self._name, self._target, self._read = found, name, target, read
        self._calls = 0

    def __call__(self, _module: nn.Module, _arguments: Any, output: Any) -> None:
        self._calls += 1
        if self._target.call is not None and self._calls - 1 != self._target.call:
            return
        if self._name in self._found:
            raise InputError(
                f"target {self._name!r} is called more than once: say which call is meant under "
                f"models.NAME.targets, such as {{module: {self._target.module}, call: 0}}, or "
                "choose another module"
            )
        part = _part_of(output, self._name, self._target)
        self._found[self._name] = self._read(part, self._name, self._target)


def _of_output(output: Any, name: str, target: Target, *, of_shapes: bool) -> Tensor:
    """What the network puts out, or a part of it; `of_shapes` if it was given no numbers."""
    if target.part is not None:
        return _part_of(output, name, target)
    found = tensor_of(output)
    return found if found.ndim > 2 or of_shapes else logits(found)


def _part_of(output: Any, name: str, target: Target) -> Tensor:
    """The tensor that the target means; raises `InputError` where there is none."""
    found = output
    if target.part is not None:
        try:
            found = output[target.part]
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(
                f"target {name!r} yields {described(output)}, of which there is no part "
                f"{target.part!r}: choose another"
            ) from error
    if isinstance(found, Tensor):
        return found
    if target.part is None and isinstance(found, (Mapping, list, tuple)) and found:
        first = next(iter(found)) if isinstance(found, Mapping) else 0
        advice = (
            "say which part is meant under models.NAME.targets, such as "
            f"{{module: {target.module}, part: {first}}}"
        )
    else:
        advice = "choose another module"
    raise InputError(f"target {name!r} yields {described(found)}, no map: {advice}")


def _check(name: str, found: Tensor, images: Tensor) -> None:
    problem = ""
    if not found.is_floating_point():
        problem = f"{found.dtype}, no real numbers"
    elif found.is_meta or found.layout != torch.strided:
        problem = f"a {found.layout} map on {found.device}, no dense one"
    elif not found.ndim or len(found) != len(images):
        problem = f"{len(found) if found.ndim else 'no'} maps of {len(images)} images"
    if problem:
        raise InputError(f"target {name!r} yields {problem}: choose another module")


def image_gradient(target: str, values: Tensor, images: Tensor, *, keep_graph: bool) -> Tensor:
    """Gradient of each image's value, (N, C, H, W)."""
    gradient = None
    if values.requires_grad:
        what = f"target {target!r} cannot be differentiated"
        with in_the_users_code(what, ": choose another one, or fix the network's code"):
            (gradient,) = torch.autograd.grad(
                values.sum(), images, retain_graph=keep_graph, allow_unused=True
            )
    if gradient is None:
        raise InputError(
            f"no gradient leads from target {target!r} to the image: "
            "take what cuts it off, such as detach() or no_grad(), out of the network"
        )
    return gradient


def prepared(
    model: nn.Module, images: Tensor, targets: Targets, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """A copy of `model` in evaluation mode, without gradients of weights, proved right and fast.

    Its batch norms are folded and its convolutions channels last, which is 1.1 to 1.4 times as fast
    on CPUs (docs/performance.md), if it then yields the same features of `images`, (2, C, H, W) of
    those to come, in float64. Raises `InputError` if the features of an image depend on anything
    else than the image.
    """
    plain = in_evaluation(model, device, dtype)
    rough = features(plain, images.to(device, dtype), targets)
    exact_images = images.to(device, torch.float64)
    exact = in_evaluation(model, device, torch.float64)
    fresh = in_evaluation(model, device, torch.float64)
    try:
        truth = features(exact, exact_images, targets)
        _check_steady(exact, fresh, exact_images, targets, truth)
    except InputError as error:  # some networks cast to float32 on their way
        if isinstance(error, _UnsteadyError) and error.difference > _SINGLE:
            raise
        finding = error.finding if isinstance(error, _UnsteadyError) else error
        log.info("batch norms are not folded, which is slower: in float64 %s", finding)
        fresh = in_evaluation(model, device, dtype)
        _check_steady(plain, fresh, images.to(device, dtype), targets, rough)
        return plain
    for target in _differing(rough, truth, _TOLERANCES[torch.float32]):
        log.warning(
            "the features of target %r differ by %.2g from those in float64: the network computes "
            "in half precision, or needs `erf.dtype: float64`",
            target,
            _distance(rough, truth, target),
        )
    for target in _cancelling(truth, targets):
        log.warning(
            "the channels of target %r sum to zero whatever the image, as behind a layer norm of "
            "equal gains: its field is rounding noise; choose the module before it",
            target,
        )
    fold_batch_norms(exact, keep=[target.module for target in targets.values()])
    if device.type == "cpu":
        for module in exact.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    try:
        changed = [*_differing(features(exact, exact_images, targets), truth)]
    except InputError as error:  # views of maps whose layout it takes for granted
        changed = [str(error)]
    if changed:
        log.info("batch norms are not folded, which is slower: it would change %s", changed[0])
        return plain
    return _cast(exact, dtype)


def check_independent(model: nn.Module, images: Tensor) -> None:
    """Raise `InputError` if an image's logits depend on anything but that image, as it stands.

    images: (N, C, H, W), a few; `model`, in evaluation mode, is called on them, so that what it
    keeps between calls shows.
    """
    targets = {OUTPUT: Target(OUTPUT, layout="logits")}
    _check_steady(model, model, images, targets, features(model, images, targets))


def in_evaluation(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy of `model` in evaluation mode, whose weights need no gradients.

    Raises `InputError` if it cannot be copied or moved, or its weights do not exist yet.
    """
    if any(map(is_lazy, itertools.chain(model.parameters(), model.buffers()))):
        raise InputError(
            "the network has lazy modules, whose weights do not exist yet: let its factory call it "
            "once on an image before it returns it"
        )
    model = copied(model)
    what = f"the network cannot be moved to {device}"
    with in_the_users_code(what, ": let all of its weights have values, or choose another device"):
        model = model.to(device).eval().requires_grad_(False)
    return _cast(model, dtype)


def _cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Complex weights stay complex, of the same precision, which `nn.Module.to` would make real."""

    def cast(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(dtype.to_complex())
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return model._apply(cast)


class _UnsteadyError(InputError):
    """Features of an image that depend on something else: they differ by `difference`."""

    def __init__(self, target: str, difference: float, when: str, advice: str) -> None:
        self.difference = difference
        self.finding = f"the features of target {target!r} differ by {difference:.2g} {when}"
        if difference <= _SINGLE:
            advice += ", or take dtype float32 if a part of it computes in that"
        super().__init__(f"{self.finding}: {advice}")


def _check_steady(
    model: nn.Module,
    fresh: nn.Module,
    images: Tensor,
    targets: Targets,
    first: Mapping[str, Tensor],
) -> None:
    """`fresh` is a copy of `model` that has seen no image; `model` made `first` of `images`."""
    again = features(model, images, targets)
    _check_same(
        again,
        first,
        "between two passes of the same images",
        "let the network neither draw numbers nor keep anything between calls in evaluation mode",
    )
    one_by_one = [features(fresh, image, targets) for image in images.split(1)]
    alone = {target: torch.cat([found[target] for found in one_by_one]) for target in targets}
    _check_same(
        alone,
        first,
        "for an image with the images beside it",
        "let the network not mix the images of a batch in evaluation mode",
    )


def _check_same(
    found: Mapping[str, Tensor], first: Mapping[str, Tensor], when: str, advice: str
) -> None:
    """Raises `_UnsteadyError` for the target that differs most, if any does."""
    differing = {target: _distance(found, first, target) for target in _differing(found, first)}
    if differing:
        target = max(differing, key=differing.__getitem__)
        raise _UnsteadyError(target, differing[target], when, advice)


def _differing(
    found: Mapping[str, Tensor], truth: Mapping[str, Tensor], tolerance: float | None = None
) -> Iterator[str]:
    """Targets whose features differ by more than rounding."""
    for target, features_of in truth.items():
        allowed = tolerance or _TOLERANCES.get(features_of.dtype, 0.1)
        if _distance(found, truth, target) > allowed:
            yield target


def _cancelling(truth: Mapping[str, Tensor], targets: Targets) -> Iterator[str]:
    """Targets whose mean over channels is zero to rounding, of features (N, C) in float64."""
    for target, features_of in truth.items():
        size = features_of.abs().mean(1)
        cancels = (features_of.mean(1).abs() < _ZERO * size).all()
        if cancels and targets[target].layout != "logits":
            yield target


def _distance(found: Mapping[str, Tensor], truth: Mapping[str, Tensor], target: str) -> float:
    """L2 norm of the difference over that of the truth; what is not a number in both is equal."""
    ours, theirs = found[target].detach().double(), truth[target].detach().double()
    difference = (ours - theirs).nan_to_num()
    return float(difference.norm() / theirs.nan_to_num().norm()) if difference.any() else 0.0
