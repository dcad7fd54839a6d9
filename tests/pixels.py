"""Pixels for tests, and normalised batches turned back into them."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """As natural images are: hardly anything changes from one pixel to the next."""
    coarse = Image.fromarray(noise(6, 5, seed))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def grey_levels(batch: Tensor) -> Tensor:
    """Normalisation undone: 0 to 255."""
    return (batch * STD[:, None, None] + MEAN[:, None, None]) * 255
