"""Saliency maps: on which pixels of an image a logit depends, as several authors define it.

Maps that are made of gradients inherit the checkerboard of the network's strides (Kim et al. 2023,
Section 5). ``smooth_strides`` takes it out of the gradient; `corrections` take it out of maps.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from ..data.draws import Purpose, generator
from ..erf import NonFiniteGradientError
from ..errors import InputError
from ..features import features, image_gradient, observed
from ..networks.forward import full_precision
from ..targets import OUTPUT, Target, feature_map
from .linear import LOGITS

NOISE = 0.15  # SmoothGrad's standard deviation, of an image's greatest value less its least


class NoReluError(InputError):
    """Guided backpropagation is asked for a network that has no ReLU."""


class Batch(NamedTuple):
    """Images (N, C, H, W), and the classes (N,) of the logits that maps explain.

    numbers: of the images (N,), by which noise is drawn. target: the map that Grad-CAM reads,
    completed. points: over how many images SmoothGrad and integrated gradients average gradients.
    """

    images: Tensor
    classes: Tensor
    numbers: np.ndarray
    target: Target
    seed: int
    points: int


def _gradient(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    change: Callable[[Any], None] = lambda _step: None,
) -> Tensor:
    """Gradients (N, C, H, W) of logits; `change` may hook on to each step of the backward pass."""
    images = images.detach().requires_grad_()
    chosen = features(model, images, LOGITS)[OUTPUT].gather(1, classes[:, None])
    for step in _steps_back(chosen):
        change(step)
    return image_gradient(OUTPUT, chosen, images, keep_graph=False)


def _steps_back(value: Tensor) -> Iterator[Node]:
    seen: set[Node] = set()
    left = [value.grad_fn]
    while left:
        step = left.pop()
        if step is not None and step not in seen:
            seen.add(step)
            left += [further for further, _ in step.next_functions]
    yield from seen


def _mean_gradient(model: nn.Module, batch: Batch, copies: Iterable[Tensor]) -> Tensor:
    total = torch.zeros_like(batch.images)
    for images in copies:
        total += _gradient(model, images, batch.classes)
    return total / batch.points


def _plain(model: nn.Module, batch: Batch) -> Tensor:
    return _gradient(model, batch.images, batch.classes).mean(1)


def _times_input(model: nn.Module, batch: Batch) -> Tensor:
    return (_gradient(model, batch.images, batch.classes) * batch.images).sum(1)


def _smoothgrad(model: nn.Module, batch: Batch) -> Tensor:
    copies = (batch.images + _noise(batch, copy) for copy in range(batch.points))
    return _mean_gradient(model, batch, copies).mean(1)


def _noise(batch: Batch, copy: int) -> Tensor:
    drawn = [
        generator(batch.seed, Purpose.SMOOTHGRAD, int(number), copy).standard_normal(image.shape)
        for number, image in zip(batch.numbers, batch.images, strict=True)
    ]
    spread = batch.images.amax((1, 2, 3)) - batch.images.amin((1, 2, 3))
    return NOISE * spread[:, None, None, None] * torch.from_numpy(np.stack(drawn)).to(batch.images)


def _integrated(model: nn.Module, batch: Batch) -> Tensor:
    """From zero on, the mean colour of normalised images, by the midpoint rule."""
    shares = (np.arange(batch.points) + 0.5) / batch.points
    copies = (share * batch.images for share in shares.tolist())
    return (_mean_gradient(model, batch, copies) * batch.images).sum(1)


def _guided(model: nn.Module, batch: Batch) -> Tensor:
    """Hooks are on the graph, which knows ReLUs that are functions or are used again."""
    guided = []

    def guide(step: Any) -> None:
        relu6 = step.name() == "HardtanhBackward0" and step._saved_min_val == 0
        if relu6 or step.name() == "ReluBackward0":
            guided.append(step.register_prehook(lambda gradients: (gradients[0].relu(),)))

    gradients = _gradient(model, batch.images, batch.classes, guide)
    if not guided:
        raise NoReluError(
            "the network has no ReLU, through which guided backpropagation would lead: "
            "leave guided_backpropagation out"
        )
    return gradients.mean(1)


def _grad_cam(model: nn.Module, batch: Batch) -> Tensor:
    name = batch.target.module
    images = batch.images.detach().requires_grad_()
    found = observed(model, images, {name: batch.target, **LOGITS}, lambda tensor, *_: tensor)
    chosen = found[OUTPUT].gather(1, batch.classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, found[name], allow_unused=True)
    if gradient is None:
        raise InputError(f"no logit depends on target {name!r}: choose another one for Grad-CAM")
    channels, gradients = (
        feature_map(tensor, name, batch.target) for tensor in (found[name].detach(), gradient)
    )
    maps = (gradients.mean((2, 3), keepdim=True) * channels).sum(1, keepdim=True).relu()
    return nn.functional.interpolate(maps, images.shape[2:], mode="bilinear").squeeze(1)


def _smooth_strides(model: nn.Module, batch: Batch) -> Tensor:
    return _gradient(model, batch.images, batch.classes, _smooth).mean(1)


def _smooth(step: Any) -> None:
    """Of convolutions alone, as in the authors' code: pools keep their gradients."""
    if step.name() == "ConvolutionBackward0" and not step._saved_transposed:
        stride = step._saved_stride
        step.register_hook(lambda gradients, _: (_smoothed(gradients[0], stride), *gradients[1:]))


def _smoothed(gradients: Tensor, stride: tuple[int, ...]) -> Tensor:
    """The mean over all moves by less than a stride, in which each pixel gets every phase once.

    What leaves at one border enters at the other. As moves go down and right alone, the map of a
    network moves so by almost half of its stride.
    """
    for axis, length in enumerate(stride, start=2):
        moved = [gradients.roll(move, axis) for move in range(length)]
        gradients = torch.stack(moved).mean(0)
    return gradients


@dataclass(frozen=True)
class Saliency:
    """How maps (N, H, W) of a batch are made, and after whom.

    Gradients are averaged over colours, as they are for R. Products with the image are summed, so
    that the sum of a map is what it explains of the logit. All but Grad-CAM's maps are signed.
    """

    title: str
    source: str
    maps: Callable[[nn.Module, Batch], Tensor]


SALIENCIES = {
    "gradient": Saliency("gradient", "Simonyan et al. 2014", _plain),
    "gradient_x_input": Saliency("gradient x input", "Shrikumar et al. 2016", _times_input),
    "smoothgrad": Saliency("SmoothGrad", "Smilkov et al. 2017", _smoothgrad),
    "integrated_gradients": Saliency(
        "integrated gradients", "Sundararajan et al. 2017", _integrated
    ),
    "guided_backpropagation": Saliency(
        "guided backpropagation", "Springenberg et al. 2015", _guided
    ),
    "grad_cam": Saliency("Grad-CAM", "Selvaraju et al. 2017", _grad_cam),
    "smooth_strides": Saliency(
        "gradient, smoothed at strides", "Herdt et al. 2024, backward hook", _smooth_strides
    ),
}


@torch.enable_grad()
@full_precision()
def saliency(
    name: str,
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    numbers: np.ndarray,
    target: Target,
    *,
    seed: int = 0,
    points: int = 32,
    batch_size: int = 32,
) -> np.ndarray:
    """Maps (N, H, W) of one of `SALIENCIES`, float64; the rest is as in `Batch`.

    Raises `NonFiniteGradientError`, `NoReluError`, and `InputError` where logits do not depend on
    the image, or for Grad-CAM on the target.
    """
    maps = []
    for first in range(0, len(images), batch_size):
        part = slice(first, first + batch_size)
        batch = Batch(images[part], classes[part], numbers[part], target, seed, points)
        maps.append(SALIENCIES[name].maps(model, batch).double().cpu().numpy())
    found = np.concatenate(maps)
    finite = np.isfinite(found).all((1, 2))
    if not finite.all():
        raise NonFiniteGradientError(OUTPUT, int(numbers[finite.argmin()]))
    return found
