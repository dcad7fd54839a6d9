"""The micro-object task: is the small square somewhere in the image black or red?

Each image appears in a batch twice, once with a black square and once with a red one, at places
that are drawn for every epoch. Every draw is a pure function of (seed, epoch, image).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from . import training
from .data.draws import Purpose, uniforms
from .data.normalisation import MEAN, STD
from .kernels import Init
from .surgery.selection import Selection
from .training import Batches, Rows, shuffled

CLASSES = {"black": (0, 0, 0), "red": (255, 0, 0)}  # RGB of 0 to 255, in the order of the labels


def colours() -> Tensor:
    """The classes' colours as normalised images have them, (2, 3)."""
    rgb = torch.tensor([*CLASSES.values()], dtype=torch.float32).div(255)
    return rgb.sub(torch.tensor(MEAN)).div(torch.tensor(STD))


def paste(images: Tensor, colours: Tensor, generator: torch.Generator, size: int = 8) -> Tensor:
    """Copies of images (N, 3, H, W), each with a square of `size` px in its colour (N, 3).

    Places are uniform over all those where the square fits, drawn with `generator`.
    """
    height, width = images.shape[2:]
    drawn = [
        torch.randint(length - size + 1, (len(images),), generator=generator)
        for length in (height, width)
    ]
    return paste_at(images, colours, torch.stack(drawn, 1), size)


def paste_at(images: Tensor, colours: Tensor, corners: Tensor, size: int = 8) -> Tensor:
    """As `paste`, with the top and left pixel of each square given, int64 (N, 2)."""
    corners = corners.to(images.device)
    down, across = (
        torch.arange(length, device=images.device) - corners[:, axis, None]
        for axis, length in enumerate(images.shape[2:])
    )
    rows, columns = ((offset >= 0) & (offset < size) for offset in (down, across))
    square = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(square, colours.to(images)[:, :, None, None], images)


def places(
    seed: int, purpose: Purpose, epoch: int, indices: np.ndarray, shape: Sequence[int], size: int
) -> Tensor:
    """Top and left pixel of the squares of each image, int64 (N, 2 classes, 2)."""
    drawn = uniforms(seed, purpose, epoch, indices, 2 * len(CLASSES))
    room = np.array(shape) - size + 1
    corners = np.floor(drawn.reshape(len(indices), len(CLASSES), 2) * room)
    return torch.from_numpy(corners.astype(np.int64))


def with_squares(images: Tensor, corners: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Images (2 N, 3, H, W) and labels (2 N,) of images (N, 3, H, W): each in both classes."""
    labels = torch.arange(len(CLASSES), device=images.device).repeat(len(images))
    painted = colours().to(images.device)[labels]
    doubled = images.repeat_interleave(len(CLASSES), dim=0)
    return paste_at(doubled, painted, corners.flatten(0, 1), size), labels


def training_batches(
    images: Callable[[int, np.ndarray], Tensor],
    n_images: int,
    batch_size: int,
    size: int,
    seed: int,
) -> Callable[[int], Batches]:
    """The `train` of `training.fit`, in batches of `batch_size` images, half of each class.

    images(epoch, indices) yields augmented and normalised images (N, 3, H, W).
    """

    def train(epoch: int) -> Batches:
        for chosen in shuffled(n_images, batch_size // len(CLASSES), seed, epoch):
            without = images(epoch, chosen)
            shape = without.shape[2:]
            corners = places(seed, Purpose.TRAINING_SQUARES, epoch, chosen, shape, size)
            yield with_squares(without, corners, size)

    return train


def test_places(seed: int, indices: np.ndarray, shape: Sequence[int], size: int) -> Tensor:
    """`places` in test images, which are the same in every epoch."""
    return places(seed, Purpose.TEST_SQUARES, 0, indices, shape, size)


def evaluation_batches(
    batches: Sequence[tuple[Tensor, Tensor]], size: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Images and labels of both classes, at places that are the same in every epoch.

    batches: images (N, 3, H, W) with labels, which are ignored.
    """
    painted, first = [], 0
    for images, _ in batches:
        numbers = np.arange(first, first + len(images))
        corners = test_places(seed, numbers, images.shape[2:], size)
        painted.append(with_squares(images, corners, size))
        first += len(images)
    return painted


def starting_network(
    network: nn.Module,
    kernels: str,
    surgeries: Mapping[str, Selection],
    *,
    init: Init,
    seed: int,
    side: int,
) -> nn.Module:
    """Where a run with images of `side` px starts; see `training.starting_network`."""
    size, classes = (side, side), len(CLASSES)
    return training.starting_network(
        network, classes, kernels, surgeries, init=init, seed=seed, input_size=size
    )


def seen_for(epochs: int, threshold: float) -> Callable[[Rows], bool]:
    """The `is_done` of `training.fit`: so many epochs after the first one above the threshold."""

    def is_done(rows: Rows) -> bool:
        above = [row["epoch"] for row in rows if row["test_acc"] > threshold]
        return bool(above) and len(rows) >= above[0] + epochs

    return is_done
