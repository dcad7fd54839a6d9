"""Eqs. 1 to 3 of the paper as they are written: one image and one target at a time."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def field(
    model: nn.Module,
    images: Tensor,
    target: str = "output",
    labels: Sequence[int] | None = None,
    *,
    single: bool = False,
) -> np.ndarray:
    """Mean map of `target`; of `output` for the predicted class, or for those of `labels`.

    single: compute in float32, not in float64.
    """
    model = copy.deepcopy(model).eval()
    model, images = (model.float(), images.float()) if single else (model.double(), images.double())
    kept: list[Tensor] = []
    if target != "output":
        model.get_submodule(target).register_forward_hook(lambda _m, _a, out: kept.append(out))
    total = np.zeros(images.shape[2:])
    for number, image in enumerate(images.split(1)):
        leaf = image.clone().requires_grad_()
        output = model(leaf * 1)  # that the network may write into
        logits = getattr(output, "logits", output)
        if target == "output":
            value = logits[0].max() if labels is None else logits[0, labels[number]]
        else:
            rows, columns = kept[0].shape[2:]
            value = kept[0][0, :, rows // 2, columns // 2].mean()
            kept.clear()
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
            if gradient is not None:
                total += gradient[0].mean(0).relu().double().numpy()
    return total / len(images)
