"""Training images augmented in each epoch: a batch at once on the device, or by torchvision.

Every draw is a pure function of (seed, epoch, image): no generator has a state to save, and an
image is augmented in the same way in whatever batch it comes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from ..logs import progress
from .draws import Purpose, uniforms, words
from .evaluation import MEAN, STD
from .packs import Pack

_RATIO = (3 / 4, 4 / 3)  # width to height, and the tries at a box that fits: as in torchvision
_TRIES = 10
_PIXELS_AT_ONCE = {"cpu": 2**17, "cuda": 2**22}  # what they need stays in cache, in memory


@dataclass(frozen=True)
class Augmentation:
    """RandomResizedCrop, RandomRotation, RandomHorizontalFlip and CenterCrop, in that order."""

    resized_crop: int = 256  # pixels, as is `crop`
    crop: int = 224
    scale: tuple[float, float] = (0.8, 1.0)  # share of the image's area that is cropped
    rotation: float = 15.0  # degrees either way
    flip: float = 0.5  # probability

    @property
    def shorter_side(self) -> int:
        """Pixels beyond which two neighbours are too few to shrink a crop without aliasing."""
        return math.ceil(self.resized_crop / math.sqrt(self.scale[0]))


@dataclass(frozen=True)
class Draws:
    """What happens to each of N images."""

    box: np.ndarray  # int64 (N, 4): top, left, height, width in pixels
    angle: np.ndarray  # float64 (N,): degrees, counter-clockwise
    flip: np.ndarray  # bool (N,)


def draw(
    augmentation: Augmentation, seed: int, epoch: int, indices: np.ndarray, sizes: np.ndarray
) -> Draws:
    """Draw for images `indices` (N,), of heights and widths `sizes` (N, 2), as torchvision does."""
    uniform = uniforms(seed, Purpose.AUGMENTATION, epoch, indices, 4 + 2 * _TRIES)
    boxes = _boxes(augmentation.scale, uniform[:, 4:], sizes)
    room = sizes - boxes + 1
    drawn = np.floor(uniform[:, :2] * room).astype(np.int64)
    fits = (boxes > 0).all(axis=1, keepdims=True)
    central = _central_boxes(sizes)
    boxes = np.where(fits, boxes, central)
    corner = np.where(fits, drawn, (sizes - central) // 2)
    return Draws(
        box=np.concatenate([corner, boxes], axis=1),
        angle=augmentation.rotation * (2 * uniform[:, 2] - 1),
        flip=uniform[:, 3] < augmentation.flip,
    )


def _boxes(scale: tuple[float, float], uniform: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Heights and widths (N, 2) of the first boxes drawn that fit; 0 where none does."""
    low, high = np.log(_RATIO)
    area = sizes.prod(axis=1)[:, None] * (scale[0] + (scale[1] - scale[0]) * uniform[:, :_TRIES])
    ratio = np.exp(low + (high - low) * uniform[:, _TRIES:])
    tries = np.rint(np.sqrt(np.stack([area / ratio, area * ratio], axis=-1))).astype(np.int64)
    fits = ((tries > 0) & (tries <= sizes[:, None])).all(axis=-1)
    images = np.arange(len(sizes))
    first = fits.argmax(axis=1)
    return np.where(fits[images, first, None], tries[images, first], 0)


def _central_boxes(sizes: np.ndarray) -> np.ndarray:
    """Heights and widths (N, 2) of the largest boxes of a ratio that is allowed."""
    height, width = sizes.T
    highest = np.rint(width / _RATIO[0]).astype(np.int64)
    widest = np.rint(height * _RATIO[1]).astype(np.int64)
    return np.stack([np.minimum(height, highest), np.minimum(width, widest)], axis=1)


class RaggedImages:
    """Images of different sizes, one after another in a single tensor on the device."""

    def __init__(
        self,
        pack: Pack | Sequence[np.ndarray],
        indices: Sequence[int],
        shorter_side: int,
        device: torch.device | str,
    ) -> None:
        """Load the images `indices`; those of a longer shorter side are shrunk to `shorter_side`.

        `sizes` are their heights and widths (N, 2), `offsets` the places of their first pixels.
        """
        sizes = np.array([pack[i].shape[:2] for i in indices])
        shrink = np.minimum(1, shorter_side / sizes.min(axis=1, keepdims=True))
        self.sizes = np.rint(sizes * shrink).astype(np.int64)
        ends = self.sizes.prod(axis=1).cumsum()
        self.offsets = ends - self.sizes.prod(axis=1)
        # the fourth byte is never read: with it a pixel is one aligned word, fetched at once
        self.pixels = torch.empty((ends[-1], 4), dtype=torch.uint8, device=device)
        places = zip(indices, self.sizes.tolist(), self.offsets, ends, strict=True)
        for i, size, start, end in progress(places, total=len(ends), what="images loaded"):
            pixels = pack[i]
            if pixels.shape[:2] != tuple(size):
                pixels = transforms.functional.resize(Image.fromarray(pixels), size)
            self.pixels[start:end, :3] = torch.tensor(np.asarray(pixels)).view(-1, 3)


def augment(
    images: RaggedImages, indices: np.ndarray, draws: Draws, augmentation: Augmentation
) -> Tensor:
    """Augmented and normalised images `indices` (N,), float32 (N, 3, crop, crop) on their device.

    Crop, resize, rotation, flip and centre crop are one bilinear fetch from the image, whereas
    torchvision interpolates twice: bilinearly (over more pixels where it shrinks) to resize, and
    by the nearest pixel to rotate. What rotation brings in from outside the crop is black.
    """
    radians = np.deg2rad(draws.angle)
    columns = [images.offsets[indices], images.sizes[indices, 1], draws.box]
    columns += [np.cos(radians), np.sin(radians), np.where(draws.flip, -1, 1)]
    parameters = torch.from_numpy(np.column_stack(columns)).to(images.pixels.device)
    at_once = math.ceil(_PIXELS_AT_ONCE[parameters.device.type] / augmentation.crop**2)
    shape = (len(indices), 3, augmentation.crop, augmentation.crop)
    result = torch.empty(shape, device=parameters.device)
    for part, output in zip(parameters.split(at_once), result.split(at_once), strict=True):
        _fetch(images.pixels, part, augmentation, output)
    return result


def _fetch(pixels: Tensor, parameters: Tensor, augmentation: Augmentation, output: Tensor) -> None:
    """Fill output (n, 3, crop, crop): map each pixel back to the image and interpolate there."""
    offset = parameters[:, 0, None, None].long()
    stride = parameters[:, 1, None, None].int()
    *_, top, left, height, width, cos, sin, mirror = parameters.float().T[..., None, None]
    side, crop = augmentation.resized_crop, augmentation.crop
    margin = round((side - crop) / 2)
    centred = torch.arange(crop, device=pixels.device) + (margin + 0.5 - side / 2)
    u, v = mirror * centred, centred[:, None]
    x, y = cos * u - sin * v, sin * u + cos * v  # in the resized crop, from its centre
    inside = (x.abs() < side / 2) & (y.abs() < side / 2)
    bottom, right = top + height - 1, left + width - 1
    x = (x * (width / side) + (left + (width - 1) / 2)).clamp(left, right)
    y = (y * (height / side) + (top + (height - 1) / 2)).clamp(top, bottom)

    column, row = x.int(), y.int()
    here = offset + (row * stride + column)
    below = here + (row < bottom) * stride
    step = column < right
    words = pixels.view(torch.int32).flatten()
    corners = [
        words.index_select(0, index.flatten()).view(torch.uint8).view(*index.shape, 4)
        for index in (here, here + step, below, below + step)
    ]
    across, down = x - column, y - row
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        a, b, c, d = (corner[..., channel].float() for corner in corners)
        value = a.lerp_(b, across).lerp_(c.lerp_(d, across), down).mul_(inside)
        output[:, channel] = value.mul_(1 / (255 * std)).sub_(mean / std)


class _TrainingImages:
    """Images `indices` of a pack and their `labels`; called with epoch and indices among them."""

    def __init__(
        self,
        pack: Pack | Sequence[np.ndarray],
        indices: Sequence[int],
        labels: Sequence[int],
        augmentation: Augmentation,
        *,
        seed: int,
        device: torch.device | str,
    ) -> None:
        """Choose the images; the kinds below say how they are held."""
        self._augmentation, self._seed, self._device = augmentation, seed, device
        self.labels = torch.as_tensor(labels, dtype=torch.int64, device=device)
        self._hold(pack, indices)

    def _hold(self, pack: Pack | Sequence[np.ndarray], indices: Sequence[int]) -> None:
        raise NotImplementedError


class BatchedImages(_TrainingImages):
    """Training images on the device, augmented a batch at once."""

    def _hold(self, pack: Pack | Sequence[np.ndarray], indices: Sequence[int]) -> None:
        shorter_side = self._augmentation.shorter_side
        self._images = RaggedImages(pack, indices, shorter_side, self._device)

    def __call__(self, epoch: int, indices: Sequence[int]) -> Tensor:
        """Float32 (N, 3, crop, crop) of the images at `indices` among those loaded."""
        indices = np.asarray(indices)
        sizes = self._images.sizes[indices]
        draws = draw(self._augmentation, self._seed, epoch, indices, sizes)
        return augment(self._images, indices, draws, self._augmentation)


def torchvision_transform(augmentation: Augmentation) -> transforms.Compose:
    """torchvision's own chain: uint8 array (h, w, 3) to normalised (3, crop, crop)."""
    return transforms.Compose(
        [
            Image.fromarray,
            transforms.RandomResizedCrop(augmentation.resized_crop, augmentation.scale, _RATIO),
            transforms.RandomRotation(augmentation.rotation),
            transforms.ColorJitter(),  # the paper's, which changes nothing without strengths
            transforms.RandomHorizontalFlip(augmentation.flip),
            transforms.CenterCrop(augmentation.crop),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


class TorchvisionImages(_TrainingImages):
    """Stands in for `BatchedImages`: the reference, one image after another on the CPU."""

    def _hold(self, pack: Pack | Sequence[np.ndarray], indices: Sequence[int]) -> None:
        self._pack, self._indices = pack, indices
        self._transform = torchvision_transform(self._augmentation)

    def __call__(self, epoch: int, indices: Sequence[int]) -> Tensor:
        """Float32 (N, 3, crop, crop) of the images at `indices` among those chosen."""
        drawn = words(self._seed, Purpose.AUGMENTATION, epoch, np.asarray(indices), 1)
        batch = [self._one(i, seed) for i, seed in zip(indices, drawn[:, 0].tolist(), strict=True)]
        return torch.stack(batch).to(self._device)

    def _one(self, index: int, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed reseeds the GPU's too
            return self._transform(self._pack[self._indices[index]])


TRAINING_IMAGES = {"batched": BatchedImages, "torchvision": TorchvisionImages}
