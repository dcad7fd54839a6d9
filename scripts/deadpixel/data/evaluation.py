"""From decoded images to the normalised tensors that networks take."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from .normalisation import MEAN, STD
from .packs import Pack


def evaluation_transform(resize: int = 256, crop: int = 224) -> Callable[[np.ndarray], Tensor]:
    """torchvision's chain for validation images: uint8 array to normalised (3, crop, crop).

    The same to the last bit, in Pillow's and PyTorch's own words: torchvision takes as long to
    import as PyTorch. Raises `InputError` if the crop is larger than the resized shorter side.
    """
    if crop > resize:
        raise InputError(f"a crop of {crop} px is larger than the shorter side of {resize} px")
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def transform(pixels: np.ndarray) -> Tensor:
        image = Image.fromarray(pixels)
        shorter = min(image.size)
        width, height = (resize * side // shorter for side in image.size)
        left, top = (round((side - crop) / 2) for side in (width, height))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        middle = np.array(image.crop((left, top, left + crop, top + crop)))
        return torch.from_numpy(middle).permute(2, 0, 1).contiguous().div(255).sub(mean).div(std)

    return transform


class EvaluationImages(torch.utils.data.Dataset):
    """Images of a pack as networks are evaluated on: item i is float32 (3, crop, crop)."""

    def __init__(
        self,
        pack: Pack,
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
        """One transformed image."""
        return self._transform(self._pack[self._indices[index]])

    def path(self, index: int) -> str:
        """File that one image was decoded from."""
        return self._pack.path(self._indices[index])

    def every(self, step: int, start: int = 0) -> "EvaluationImages":
        """Every `step`-th image from `start` on."""
        chosen = slice(start, None, step)
        return EvaluationImages(
            self._pack, self._indices[chosen], self.labels[chosen], self._transform
        )

    def batches(self, batch_size: int) -> Iterable[Tensor]:
        """Batches (batch_size, 3, crop, crop) in order."""
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
    *,
    resize: int,
    crop: int,
    most: int | None = None,
) -> EvaluationImages:
    """The images of one split of a manifest, at `most` so many, evenly spread over it."""
    chosen = spread(np.flatnonzero(manifest["split"] == split), most)
    labels = manifest["label"].to_numpy()[chosen]
    return EvaluationImages(
        Pack(pack, manifest), chosen, labels, evaluation_transform(resize, crop)
    )
