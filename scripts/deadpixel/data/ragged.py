"""Images of different sizes on one device, and batches that are cut out of them at once."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..logs import progress
from . import bands
from .normalisation import MEAN, STD
from .packs import Pack

_WORD = 4  # bytes
_PIXELS_AT_ONCE = {"cpu": 2**17, "cuda": 2**22}  # what they need stays in cache, in memory


class RaggedImages:
    """Images one after another in a single tensor.

    `sizes` are their heights and widths (N, 2), `offsets` the places of their first pixels.
    """

    def __init__(
        self,
        pack: Pack | Sequence[np.ndarray],
        indices: Sequence[int] | np.ndarray,
        shorter_side: int,
        device: torch.device | str,
        *,
        n_bands: int = bands.RGB,
    ) -> None:
        """Load the images `indices`, those with a longer shorter side shrunk to `shorter_side`.

        Raises `InputError` if an image has other bands than `n_bands`.
        """
        sizes = np.array([pack[i].shape[:2] for i in indices])
        shrink = np.minimum(1, shorter_side / sizes.min(axis=1, keepdims=True))
        self.sizes = np.rint(sizes * shrink).astype(np.int64)
        ends = self.sizes.prod(axis=1).cumsum()
        self.offsets = ends - self.sizes.prod(axis=1)
        # bytes beyond the bands are never read: with them a pixel is aligned words, fetched at once
        width = _WORD * math.ceil(n_bands / _WORD)
        self.pixels = torch.empty((int(ends[-1]), width), dtype=torch.uint8, device=device)
        places = zip(indices, self.sizes.tolist(), self.offsets, ends, strict=True)
        for i, size, start, end in progress(places, total=len(ends), what="images loaded"):
            pixels = pack[i]
            images = bands.layers(pixels, n_bands)
            if pixels.shape[:2] != tuple(size):
                images = [image.resize(size[::-1], Image.Resampling.BILINEAR) for image in images]
            of_bands = torch.from_numpy(bands.merged(images)).view(-1, n_bands)
            self.pixels[start:end, :n_bands] = of_bands

    def fetch(
        self,
        indices: np.ndarray,
        boxes: np.ndarray,
        angles: np.ndarray,
        flips: np.ndarray,
        *,
        side: int,
        crop: int,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> Tensor:
        """Normalised images `indices` (N,), float32 (N, bands, crop, crop) on the device.

        Of each image its box (top, left, height and width in px) is resized to a square of `side`
        px, rotated by an angle (degrees, counter-clockwise), flipped or not, and cut to the `crop`
        px in the middle; what rotation brings in from outside the box is black. All that is one
        bilinear fetch, whereas torchvision interpolates twice: bilinearly (over more pixels where
        it shrinks) to resize, and by the nearest pixel to rotate. Of each band, of 0 to 1, its
        `mean` is taken off, and what is left divided by its `std`.
        """
        radians = np.deg2rad(angles)
        columns = [self.offsets[indices], self.sizes[indices, 1], boxes]
        columns += [np.cos(radians), np.sin(radians), np.where(flips, -1, 1)]
        parameters = torch.from_numpy(np.column_stack(columns)).to(self.pixels.device)
        at_once = math.ceil(_PIXELS_AT_ONCE[parameters.device.type] / crop**2)
        colours = [*zip(mean, std, strict=True)]
        shape = len(indices), len(colours), crop, crop
        result = torch.empty(shape, device=parameters.device)
        for part, output in zip(parameters.split(at_once), result.split(at_once), strict=True):
            _fetch(self.pixels, part, side, colours, output)
        return result


def _fetch(
    pixels: Tensor,
    parameters: Tensor,
    side: int,
    colours: Sequence[tuple[float, float]],
    output: Tensor,
) -> None:
    """Fill output (n, bands, crop, crop): map each pixel back to its image, interpolate there."""
    offset = parameters[:, 0, None, None].long()
    stride = parameters[:, 1, None, None].int()
    *_, top, left, height, width, cos, sin, mirror = parameters.float().T[..., None, None]
    crop = output.shape[-1]
    margin = round((side - crop) / 2)
    centred = torch.arange(crop, device=pixels.device) + (margin + 0.5 - side / 2)
    u, v = mirror * centred, centred[:, None]
    x, y = cos * u - sin * v, sin * u + cos * v  # in the resized box, from its centre
    inside = (x.abs() < side / 2) & (y.abs() < side / 2)
    bottom, right = top + height - 1, left + width - 1
    x = (x * (width / side) + (left + (width - 1) / 2)).clamp(left, right)
    y = (y * (height / side) + (top + (height - 1) / 2)).clamp(top, bottom)

    column, row = x.int(), y.int()
    here = offset + (row * stride + column)
    below = here + (row < bottom) * stride
    step = column < right
    words = pixels.view(torch.int32)
    corners = [
        words.index_select(0, index.flatten()).view(torch.uint8).view(*index.shape, -1)
        for index in (here, here + step, below, below + step)
    ]
    across, down = x - column, y - row
    for channel, (mean, std) in enumerate(colours):
        a, b, c, d = (corner[..., channel].float() for corner in corners)
        value = a.lerp_(b, across).lerp_(c.lerp_(d, across), down).mul_(inside)
        output[:, channel] = value.mul_(1 / (255 * std)).sub_(mean / std)
