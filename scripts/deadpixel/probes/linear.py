"""A network as a fixed linear model, whose weight at a pixel is R there.

A logit of a piecewise linear network is y = sum(dy/dI * I) + C, with the gradient and C of the
image I (Kim et al. 2023, Eqs. 6 and 7). The paper takes the gradient for its mean over images, the
same for each colour, and C for its mean (Eqs. 8 to 10). Here is how far that goes.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .. import erf
from ..features import features, image_gradient
from ..networks.forward import full_precision
from ..targets import OUTPUT, Target

LOGITS = {OUTPUT: Target(OUTPUT, layout="logits")}


class Pieces(NamedTuple):
    """What logits of images are made of, and what the gradients say on average.

    of_images: a row per image: logit, y; by_gradient, sum(dy/dI * I), which leaves C; and one for
    each fixed weight, the sum of it times the image. field: R (H, W). signed: mean gradient, over
    colours too (H, W).
    """

    of_images: pd.DataFrame
    field: np.ndarray
    signed: np.ndarray


@torch.enable_grad()
@full_precision()
def pieces(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    fixed: Mapping[str, np.ndarray],
) -> Pieces:
    """Take the logits of images apart.

    batches: images (N, C, H, W), normalised, and the classes (N,) whose logits are meant. fixed:
    weights (H, W) of linear models by name, the same for each colour.
    """
    found, fields = [], {name: np.zeros(1) for name in ("kim", "signed")}
    for images, classes in batches:
        images = images.detach().requires_grad_()
        logits = features(model, images, LOGITS)[OUTPUT]
        chosen = logits.gather(1, classes[:, None]).squeeze(1)
        gradients = image_gradient(OUTPUT, chosen, images, keep_graph=False)
        pixels = images.detach().double()
        by_gradient = (gradients.double() * pixels).flatten(1).sum(1)
        colours = pixels.sum(1).cpu().numpy()
        parts = {"logit": chosen.detach().double().cpu(), "by_gradient": by_gradient.cpu()}
        parts |= {name: np.einsum("nhw,hw->n", colours, field) for name, field in fixed.items()}
        found.append(pd.DataFrame(parts))
        for name in fields:
            of_images = erf.DEFINITIONS[name].field(gradients).double()
            fields[name] = fields[name] + of_images.sum(0).cpu().numpy()
    of_images = pd.concat(found, ignore_index=True)
    return Pieces(of_images, *(field / len(of_images) for field in fields.values()))
