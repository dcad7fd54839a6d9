"""Images that are in no data set: those of any folder, or drawn ones."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import InputError
from . import packs, synthetic
from .evaluation import EvaluationImages, spread
from .folders import images_below


class Files:
    """Image files as `EvaluationImages` takes a pack: each is decoded when it is asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        """In the order of `files`."""
        self._files = files

    def __len__(self) -> int:
        """Number of files."""
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 (height, width, bands)."""
        return packs.decode(self._files[index])[0]

    def path(self, index: int) -> str:
        """Where one image is."""
        return str(self._files[index])


class Drawn:
    """Synthetic images, of each class in turn."""

    def __init__(self, number: int, seed: int) -> None:
        """So many; each is drawn by `seed` and its own number alone."""
        self._number, self._seed = number, seed

    def __len__(self) -> int:
        """Number of images."""
        return self._number

    def __getitem__(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 (height, width, 3)."""
        name = synthetic.CLASSES[index % len(synthetic.CLASSES)]
        return np.asarray(synthetic.render(name, np.random.default_rng((self._seed, index))))

    def path(self, index: int) -> str:
        """What one image is called in messages."""
        return f"synthetic image {index}"


def images(
    folder: Path | None, most: int, transform: Callable[[np.ndarray], Tensor], *, seed: int = 0
) -> EvaluationImages:
    """At `most` so many images from a folder and below, evenly spread; None: so many drawn ones.

    They have no classes: their labels are zeros. Raises `InputError` if there are not two.
    """
    found = Drawn(most, seed) if folder is None else Files(images_below(folder))
    if min(len(found), most) < 2:
        raise InputError(f"{folder or 'synthetic images'}: two images are needed at least")
    chosen = spread(np.arange(len(found)), most)
    return EvaluationImages(found, chosen, np.zeros(len(chosen)), transform)
