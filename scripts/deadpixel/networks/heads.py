"""A network's last layer, made for the classes of another data set."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data import draws
from ..errors import InputError
from ..surgery.windows import evaluating
from .forward import forward, logits


def replace(
    model: nn.Module,
    n_classes: int,
    *,
    seed: int,
    input_size: Sequence[int] = (224, 224),
    channels: int = 3,
) -> nn.Module:
    """Give `model`, in place, a new last layer for `n_classes`, initialised by `seed`; returns it.

    The last layer is the linear layer or convolution that is called last in a forward pass of an
    image of `input_size` (height and width in px) and so many `channels`, so none of an auxiliary
    head. Raises `InputError` if there is none or if the network does not put out `n_classes` logits
    with the new one: it is then no head.
    """
    image = torch.zeros(1, channels, *input_size)
    name = _last_layer(model, image)
    old: Any = model.get_submodule(name)  # one of two classes, of which each has its own width
    width = "out_features" if isinstance(old, nn.Linear) else "out_channels"
    if old._parameters.get("weight") is None:
        raise InputError(f"the head {name} computes its weights: make it an ordinary layer")
    head = copy.deepcopy(old)
    setattr(head, width, n_classes)
    head.weight = nn.Parameter(old.weight.new_empty(n_classes, *old.weight.shape[1:]))
    if old.bias is not None:
        head.bias = nn.Parameter(old.bias.new_empty(n_classes))
    with draws.initialising(seed, draws.Purpose.HEAD):
        head.reset_parameters()
    model.set_submodule(name, head)
    _check_head(model, name, n_classes, image)
    return model


def _check_head(model: nn.Module, name: str, n_classes: int, image: Tensor) -> None:
    try:
        found = logits(_evaluated(model, image)).shape[1]
        problem = f"there are {found} logits" if found != n_classes else ""
    except InputError as error:
        problem = str(error)
    if problem:
        raise InputError(
            f"{name}, the last layer that is called, is not the head: made for {n_classes} "
            f"classes, {problem}; let the network end in the layer that puts out its logits"
        )


def _last_layer(model: nn.Module, image: Tensor) -> str:
    called: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    try:
        _evaluated(model, image)
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise InputError("the network calls no linear layer whose classes could be replaced")
    return called[-1]


@torch.no_grad()
def _evaluated(model: nn.Module, image: Tensor) -> Any:
    """What `model` puts out in evaluation mode; it is left in its own modes."""
    with evaluating(model):
        return forward(model, image.clone())
