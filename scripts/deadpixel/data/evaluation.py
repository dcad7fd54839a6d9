"""From decoded images to the normalised tensors that networks take."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from . import bands
from .normalisation import MEAN, STD
from .packs import Pack


def evaluation_transform(
    resize: int | Sequence[int] = 256,
    crop: int | Sequence[int] = 224,
    interpolation: str = "bilinear",
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    shift: tuple[float, float] = (0, 0),
) -> Callable[[np.ndarray], Tensor]:
    """torchvision's chain for validation images: uint8 array to normalised (bands, height, width).

    resize: the shorter side in px, or height and width. crop: the side of the square in the middle,
    or its height and width. interpolation: a filter of Pillow's, such as ``bicubic``. mean, std: of
    each band, of 0 to 1; there are as many bands as means, of RGB, of grey made of it, or others.
    shift: by how many px, of the resized image, the crop is below the middle and right of it.
    Crops a whole number of px apart share their pixels to the last bit; parts of a px are the
    resizing's own, so that no pixel is interpolated twice.

    The same to the last bit, in Pillow's and PyTorch's own words: torchvision takes as long to
    import as PyTorch. Raises `InputError` if the crop is larger than every image is once resized,
    or if it is moved beyond a shorter side.
    """
    resized, (height, width) = _height_and_width(resize), _height_and_width(crop)
    if height > resized[0] or width > resized[1]:
        raise InputError(f"a crop of {crop} px is larger than images resized to {resize} px")
    for length, cropped, moved in zip(resized, (height, width), shift, strict=True):
        if not 0 <= _start(length, cropped, moved) <= length - cropped:
            raise InputError(
                f"a shift by {moved:g} px moves a crop of {crop} px out of images resized to "
                f"{resize} px: shift less, or change preprocess.resize or preprocess.crop"
            )
    resampling = Image.Resampling[interpolation.upper()]
    means, stds = (torch.tensor(values)[:, None, None] for values in (mean, std))

    def transform(pixels: np.ndarray) -> Tensor:
        images = bands.layers(pixels, len(mean))
        cropped = bands.merged([cut(image) for image in images])
        return torch.from_numpy(cropped).permute(2, 0, 1).contiguous().div(255).sub(means).div(stds)

    def cut(image: Image.Image) -> Image.Image:
        size = _resized(image, resize)
        down, across = shift
        starts = _start(size[0], width, across), _start(size[1], height, down)
        # not the box of the crop alone: Pillow rounds in between, in an order that depends on it
        (columns, west, east), (rows, north, south) = map(
            _sampled, image.size, size, (start % 1 for start in starts)
        )
        image = image.resize((columns, rows), resampling, box=(west, north, east, south))
        left, top = map(math.floor, starts)
        return image.crop((left, top, left + width, top + height))

    return transform


def _start(length: int, cropped: int, shift: float) -> float:
    """Where a crop begins that is `shift` px from torchvision's middle."""
    return round((length - cropped) / 2) + shift


def _sampled(length: int, resized: int, begin: float) -> tuple[int, float, float]:
    """How a side of `length` px is resized, each sample `begin` of a px later than usual.

    Number of samples, one less than `resized` if `begin` is positive, and where they begin and end.
    """
    scale, less = length / resized, math.ceil(begin)
    return resized - less, begin * scale, length - (less - begin) * scale


def _height_and_width(size: int | Sequence[int]) -> Sequence[int]:
    return (size, size) if isinstance(size, int) else size


def _resized(image: Image.Image, resize: int | Sequence[int]) -> tuple[int, int]:
    """Width and height."""
    if isinstance(resize, int):
        shorter = min(image.size)
        return resize * image.width // shorter, resize * image.height // shorter
    height, width = resize
    return width, height


class Images(Protocol):
    """Decoded images by number, as a `Pack` has them."""

    def __getitem__(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 (height, width, bands)."""
        ...

    def path(self, index: int) -> str:
        """File that one image was decoded from."""
        ...


class EvaluationImages(torch.utils.data.Dataset):
    """Images of a pack as networks are evaluated on: item i is float32 (bands, h, w)."""

    def __init__(
        self,
        pack: Images,
        indices: Sequence[int] | np.ndarray,
        labels: Sequence[int] | np.ndarray | Tensor,
        transform: Callable[[np.ndarray], Tensor],
    ) -> None:
        """Choose `indices` of `pack`; `labels` are those images' classes."""
        self._pack, self._indices, self._transform = pack, indices, transform
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        """Number of chosen images."""
        return len(self._indices)

    def __getitem__(self, index: int) -> Tensor:
        """One transformed image; raises `InputError` naming its file if it has other bands."""
        pixels = self._pack[self._indices[index]]
        try:
            return self._transform(pixels)
        except InputError as error:  # not `naming`, which would read each image twice
            raise InputError(f"{self.path(index)}: {error}") from error

    def path(self, index: int) -> str:
        """File that one image was decoded from."""
        return self._pack.path(self._indices[index])

    def every(self, step: int, start: int = 0) -> "EvaluationImages":
        """Every `step`-th image from `start` on."""
        chosen = slice(start, None, step)
        return EvaluationImages(
            self._pack, self._indices[chosen], self.labels[chosen], self._transform
        )

    def through(self, transform: Callable[[np.ndarray], Tensor]) -> "EvaluationImages":
        """The same images by another transform."""
        return EvaluationImages(self._pack, self._indices, self.labels, transform)

    def batches(self, batch_size: int) -> Iterable[Tensor]:
        """Batches (batch_size, bands, h, w) in order."""
        return torch.utils.data.DataLoader(self, batch_size)

    def on(self, device: torch.device, batch_size: int) -> list[tuple[Tensor, Tensor]]:
        """Batches of images and labels that stay on `device`, for evaluation again and again."""
        images = (batch.to(device) for batch in self.batches(batch_size))
        return [*zip(images, self.labels.to(device).split(batch_size), strict=True)]


def spread(indices: np.ndarray, most: int | None) -> np.ndarray:
    """At `most` so many of `indices` (n,), evenly spread over them; all of them for None."""
    if most is None or most >= len(indices):
        return indices
    return indices[np.arange(most) * len(indices) // most]


def evaluation_images(
    pack: Path | str,
    manifest: pd.DataFrame,
    split: str,
    transform: Callable[[np.ndarray], Tensor],
    most: int | None = None,
) -> EvaluationImages:
    """The images of one split of a manifest, at `most` so many, evenly spread over it."""
    chosen = spread(np.flatnonzero(manifest["split"] == split), most)
    labels = manifest["label"].to_numpy()[chosen]
    return EvaluationImages(Pack(pack, manifest), chosen, labels, transform)
