"""Training images augmented in each epoch: a batch at once on the device, or by torchvision.

Every draw is a pure function of (seed, epoch, image): no generator has a state to save, and an
image is augmented in the same way in whatever batch it comes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import uncompiled
from ..errors import InputError
from . import bands
from .draws import Purpose, uniforms, words
from .normalisation import MEAN, STD
from .packs import Pack
from .ragged import RaggedImages

_RATIO = (3 / 4, 4 / 3)  # width to height, and the tries at a box that fits: as in torchvision
_TRIES = 10


@dataclass(frozen=True)
class Augmentation:
    """Random resized crop, rotation, flip, the middle, normalisation, in that order."""

    resized_crop: int = 256  # pixels, as is `crop`
    crop: int = 224
    scale: tuple[float, float] = (0.8, 1.0)  # share of the image's area that is cropped
    rotation: float = 15.0  # degrees either way
    flip: float = 0.5  # probability
    mean: Sequence[float] = MEAN  # of each band, of 0 to 1, as is `std`
    std: Sequence[float] = STD

    @property
    def shorter_side(self) -> int:
        """Pixels beyond which two neighbours are too few to shrink a crop without aliasing."""
        return math.ceil(self.resized_crop / math.sqrt(self.scale[0]))


def draw(
    augmentation: Augmentation, seed: int, epoch: int, indices: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw for images `indices` (N,), of heights and widths `sizes` (N, 2), as torchvision does.

    Returns boxes, int64 (N, 4) of top, left, height and width in pixels; angles, float64 (N,) in
    degrees, counter-clockwise; and flips, bool (N,).
    """
    uniform = uniforms(seed, Purpose.AUGMENTATION, epoch, indices, 4 + 2 * _TRIES)
    boxes = _boxes(augmentation.scale, uniform[:, 4:], sizes)
    room = sizes - boxes + 1
    drawn = np.floor(uniform[:, :2] * room).astype(np.int64)
    fits = (boxes > 0).all(axis=1, keepdims=True)
    central = _central_boxes(sizes)
    corners = np.where(fits, drawn, (sizes - central) // 2)
    boxes = np.concatenate([corners, np.where(fits, boxes, central)], axis=1)
    angles = augmentation.rotation * (2 * uniform[:, 2] - 1)
    return boxes, angles, uniform[:, 3] < augmentation.flip


def _boxes(scale: tuple[float, float], uniform: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Heights and widths (N, 2) of the first boxes drawn that fit; 0 where none does."""
    low, high = np.log(_RATIO)
    area = sizes.prod(axis=1)[:, None] * (scale[0] + (scale[1] - scale[0]) * uniform[:, :_TRIES])
    ratio = np.exp(low + (high - low) * uniform[:, _TRIES:])
    tries = np.rint(np.sqrt(np.stack([area / ratio, area * ratio], axis=-1))).astype(np.int64)
    fits = np.all((tries > 0) & (tries <= sizes[:, None]), axis=-1)
    images = np.arange(len(sizes))
    first = fits.argmax(axis=1)
    return np.where(fits[images, first][:, None], tries[images, first], 0)


def _central_boxes(sizes: np.ndarray) -> np.ndarray:
    """Heights and widths (N, 2) of the largest boxes of a ratio that is allowed."""
    height, width = sizes.T
    highest = np.rint(width / _RATIO[0]).astype(np.int64)
    widest = np.rint(height * _RATIO[1]).astype(np.int64)
    return np.stack([np.minimum(height, highest), np.minimum(width, widest)], axis=1)


class BatchedImages:
    """Training images on the device, augmented a batch at once; `labels` are their classes."""

    def __init__(
        self,
        pack: Pack | Sequence[np.ndarray],
        indices: Sequence[int] | np.ndarray,
        labels: Sequence[int] | np.ndarray,
        augmentation: Augmentation,
        *,
        seed: int,
        device: torch.device | str,
    ) -> None:
        """Choose the images `indices` of `pack`, of classes `labels`."""
        self._augmentation, self._seed, self._device = augmentation, seed, device
        self.labels = torch.as_tensor(labels, dtype=torch.int64, device=device)
        self._hold(pack, indices)

    def _hold(self, pack: Pack | Sequence[np.ndarray], indices: Sequence[int] | np.ndarray) -> None:
        how = self._augmentation
        self._images = RaggedImages(
            pack, indices, how.shorter_side, self._device, n_bands=len(how.mean)
        )

    def __call__(self, epoch: int, indices: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """Float32 (N, bands, crop, crop) of the images at `indices` among those chosen."""
        indices, how = np.asarray(indices), self._augmentation
        drawn = draw(how, self._seed, epoch, indices, self._images.sizes[indices])
        sizes = {"side": how.resized_crop, "crop": how.crop}
        return self._images.fetch(indices, *drawn, **sizes, mean=how.mean, std=how.std)


def torchvision_transform(augmentation: Augmentation) -> Callable[[np.ndarray], Tensor]:
    """torchvision's own chain: uint8 array (h, w, 3) to normalised (bands, crop, crop).

    Raises `InputError` of images that are neither grey nor RGB.
    """
    with uncompiled.imports():
        from torchvision import transforms

    return transforms.Compose(
        [
            lambda pixels: _one_image(pixels, len(augmentation.mean)),
            transforms.RandomResizedCrop(augmentation.resized_crop, augmentation.scale, _RATIO),
            transforms.RandomRotation(augmentation.rotation),
            transforms.ColorJitter(),  # the paper's, which changes nothing without strengths
            transforms.RandomHorizontalFlip(augmentation.flip),
            transforms.CenterCrop(augmentation.crop),
            transforms.ToTensor(),
            transforms.Normalize(augmentation.mean, augmentation.std),
        ]
    )


def _one_image(pixels: np.ndarray, n_bands: int) -> Image.Image:
    first, *others = bands.layers(pixels, n_bands)
    if others:
        raise InputError("torchvision augments grey and RGB images alone: take method: batched")
    return first


class TorchvisionImages(BatchedImages):
    """The reference: one image after another, by torchvision on the CPU."""

    def _hold(self, pack: Pack | Sequence[np.ndarray], indices: Sequence[int] | np.ndarray) -> None:
        self._pack, self._indices = pack, indices
        self._transform = torchvision_transform(self._augmentation)

    def __call__(self, epoch: int, indices: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """Float32 (N, bands, crop, crop) of the images at `indices` among those chosen."""
        indices = np.asarray(indices)
        drawn = words(self._seed, Purpose.AUGMENTATION, epoch, indices, 1)[:, 0]
        batch = [self._one(i, seed) for i, seed in zip(indices, drawn.tolist(), strict=True)]
        return torch.stack(batch).to(self._device)

    def _one(self, index: int, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed reseeds the GPU's too
            return self._transform(self._pack[self._indices[index]])


TRAINING_IMAGES = {"batched": BatchedImages, "torchvision": TorchvisionImages}
