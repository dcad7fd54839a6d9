"""The one-pixel attack: is one pixel, set to any colour, enough to change an image's class?

Su, Vargas and Sakurai, "One Pixel Attack for Fooling Deep Neural Networks", IEEE Transactions on
Evolutionary Computation 2019: untargeted, by differential evolution without crossover.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import differential_evolution
from torch import Tensor, nn

from ..data.draws import Purpose, generator
from .answers import answers

_SCALE = 0.5  # of the difference that is added to a candidate, F in the paper's Eq. 4


class Attack(NamedTuple):
    """What came of one attack.

    succeeded: the class changed. queries: images that the network saw, the unchanged one among
    them. place, colour: row and column, and normalised colour (C,), of the pixel that changed the
    class, or else of the one that lowered the probability of the class the most. before, after:
    that probability of the unchanged image, and of the one with this pixel.
    """

    succeeded: bool
    queries: int
    place: tuple[int, int]
    colour: np.ndarray
    before: float
    after: float


def attack(
    model: nn.Module,
    image: Tensor,
    label: int,
    places: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    *,
    population: int,
    generations: int,
    seed: int,
    number: int,
    batch_size: int,
) -> Attack:
    """Look for one pixel of an image (C, H, W), of class `label`, that changes its class.

    places: rows and columns that the pixel may have, int (n, 2), in any order. bounds: lowest and
    highest value of each channel, (C,) each, those of normalised black and white. population:
    candidates of a generation, at least 5. generations: the most after the first, which is drawn.
    seed, number: what the draws depend on; number is the image's. They are the same numbers
    whatever the places and the network, so that attacks of one image are pairs.

    A candidate is a number in [0, 1) for the place, in raster order, and one for each channel; what
    is minimised is the probability (softmax) of `label`. It ends with the first generation that
    has a success, and never sooner for want of progress: then it takes
    1 + population * (1 + generations) queries.

    Raises `ValueError` for an image that the network does not assign to `label`, as there is
    nothing to attack, and for places that are none of the image; `InputError` as `answers`.
    """
    places = np.unique(places, axis=0)  # in raster order
    if not len(places) or (places < 0).any() or (places >= image.shape[1:]).any():
        raise ValueError(f"places are no pixels of an image of {tuple(image.shape[1:])} px")
    search = _Search(model, image, label, places, bounds, batch_size)
    draw = generator(seed, Purpose.ATTACK, number)
    try:
        differential_evolution(
            search.energies,
            [(0, 1)] * (1 + len(image)),
            strategy="rand1bin",
            mutation=_SCALE,
            recombination=1,
            init=draw.random((population, 1 + len(image))),  # pyright: ignore[reportArgumentType]
            maxiter=generations,
            atol=-1,  # never converged, not even where all energies are equal
            callback=lambda *_: search.succeeded,
            polish=False,
            updating="deferred",
            vectorized=True,
            rng=draw,
        )
    except RuntimeError as error:  # which SciPy makes of an `InputError`
        raise error.__cause__ or error from None
    return search.result()


class _Search:
    """What the network says of candidates: counted, and the best one kept."""

    def __init__(
        self,
        model: nn.Module,
        image: Tensor,
        label: int,
        places: np.ndarray,
        bounds: tuple[np.ndarray, np.ndarray],
        batch_size: int,
    ) -> None:
        self._model, self._image, self._label = model, image, label
        self._places, self._bounds, self._batch_size = places, bounds, batch_size
        self._queries = 0
        self._best = np.zeros(1 + len(image))
        (self._before,), (changed,) = self._judged(iter([image[None]]))
        if changed:
            raise ValueError(
                f"the network does not assign the image to class {label}: leave it out"
            )
        self._after = np.inf
        self.succeeded = False

    def energies(self, candidates: np.ndarray) -> np.ndarray:
        """Probabilities (S,) of the class for candidates (1 + C, S); infinite after a success.

        SciPy asks for a generation more if the first has a success, which the network never sees.
        """
        if self.succeeded:
            return np.full(candidates.shape[1], np.inf)
        probabilities, changed = self._judged(self._batches(candidates.T))
        self.succeeded = bool(changed.any())
        eligible = np.where(changed, probabilities, np.inf) if self.succeeded else probabilities
        best = eligible.argmin()
        if self.succeeded or eligible[best] < self._after:
            self._best, self._after = candidates[:, best].copy(), eligible[best]
        return probabilities

    def result(self) -> Attack:
        """Of what was seen so far."""
        ((row, column),), (colour,) = self._pixels(self._best[None])
        place = int(row), int(column)
        before, after = float(self._before), float(self._after)
        return Attack(self.succeeded, self._queries, place, colour, before, after)

    def _judged(self, batches: Iterator[Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Probability of the class (N,) and whether another one has the largest logit (N,)."""
        logits = answers(self._model, batches)
        self._queries += len(logits)
        changed = logits.argmax(1) != self._label
        return logits.softmax(1)[:, self._label].numpy(), changed.numpy()

    def _batches(self, candidates: np.ndarray) -> Iterator[Tensor]:
        """The image with the pixel of each candidate (S, 1 + C), in batches (n, C, H, W)."""
        for first in range(0, len(candidates), self._batch_size):
            places, colours = self._pixels(candidates[first : first + self._batch_size])
            images = self._image.repeat(len(places), 1, 1, 1)
            rows, columns = torch.from_numpy(places).to(images.device).T
            each = torch.arange(len(places), device=images.device)
            images[each, :, rows, columns] = torch.from_numpy(colours).to(images)
            yield images

    def _pixels(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places (S, 2) and colours (S, C) of candidates (S, 1 + C)."""
        number = len(self._places)
        chosen = np.minimum((candidates[:, 0] * number).astype(int), number - 1)  # 1 is possible
        lowest, highest = self._bounds
        return self._places[chosen], lowest + candidates[:, 1:] * (highest - lowest)
