"""What a saliency map points at, before and after a correction, and how uneven it is.

Maps are strengths (N, H, W), zero and above, as `corrections.corrected` yields them.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from .. import imbalance
from ..networks.forward import forward, full_precision, logits

BLUR = 5.0  # px, standard deviation, of images before pixels are inserted: RISE's


def contrast(means: Sequence[np.ndarray], counts: Sequence[int]) -> dict[str, float]:
    """Contrast of the mean tile of the mean map, with its errors over blocks of images.

    means and counts: each block's mean map (H, W) and number of images. Keys are those columns of
    `imbalance.measure`: ``contrast``, ``contrast_se`` and so on.
    """
    found = imbalance.measure(means, counts)
    return {name: value for name, value in found.items() if name.startswith("contrast")}


def agreement(before: np.ndarray, after: np.ndarray, period: int) -> np.ndarray:
    """Rank correlation (N,) of two maps of each image: whether they point at the same places.

    Spearman's, after a blur in which nothing of the strides is left: by a Gaussian whose full width
    at half of its height is `period` px. NaN where one of the maps is constant.
    """
    from scipy.stats import rankdata  # takes a second to import

    sigma = period / math.sqrt(8 * math.log(2))
    ranks = [
        [rankdata(ndimage.gaussian_filter(one, sigma, mode="nearest")) for one in maps]
        for maps in (before, after)
    ]
    with np.errstate(invalid="ignore"):  # ranks of a constant map have no spread
        return np.array([np.corrcoef(*pair)[0, 1] for pair in zip(*ranks, strict=True)])


def _blurred(image: Tensor) -> Tensor:
    pixels = image.cpu().numpy()
    blurred = ndimage.gaussian_filter(pixels, BLUR, mode="nearest", axes=(-2, -1))
    return torch.from_numpy(blurred).to(image)


# The image (C, H, W) before and after all of its pixels are exchanged. Zero is the mean colour of
# normalised images.
EXCHANGES: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "insertion": lambda image: (_blurred(image), image),
    "deletion": lambda image: (image, torch.zeros_like(image)),
}


@torch.no_grad()
@full_precision()
def curves(
    kind: str,
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    maps: np.ndarray,
    *,
    steps: int,
    batch_size: int = 32,
) -> np.ndarray:
    """Probabilities (N, steps + 1) of the classes (N,) as pixels are exchanged, strongest first.

    kind: one of `EXCHANGES`: insertion into the blurred image, or deletion (Petsiuk et al., RISE,
    BMVC 2018). Pixels are exchanged in `steps` parts of equal size, to one; of those that are
    equally strong the first in rows. A map that points at what the network uses has a high curve of
    insertion and a low one of deletion.
    """
    found = []
    counts = torch.arange(steps + 1, device=images.device) * images[0, 0].numel() // steps
    for image, label, strengths in zip(images, classes.tolist(), maps, strict=True):
        before, after = EXCHANGES[kind](image)
        turns = _turns(strengths).to(image.device)
        parts = []
        for count in counts.split(batch_size):
            frames = torch.where(turns < count[:, None, None, None], after, before)
            parts.append(logits(forward(model, frames)).double().softmax(1)[:, label])
        found.append(torch.cat(parts).cpu().numpy())
    return np.array(found)


def _turns(strengths: np.ndarray) -> Tensor:
    """After how many others a pixel is exchanged, (H, W)."""
    turns = np.empty(strengths.size, dtype=np.int64)
    turns[np.argsort(-strengths, axis=None, kind="stable")] = np.arange(strengths.size)
    return torch.from_numpy(turns.reshape(strengths.shape))


def area(curves: np.ndarray) -> np.ndarray:
    """Areas (N,) under curves (N, steps + 1) over the share of exchanged pixels, of 0 to 1."""
    return np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1)
