"""Runs of the micro-object task as their files say them, of squares drawn at random."""

import numpy as np
import pandas as pd

SIZE = 8


def corners(n: int, side: int, seed: int = 0) -> np.ndarray:
    """Top and left pixel (n, 2) of squares in an image of `side` px, no two at one place."""
    room = side - SIZE + 1
    drawn = np.random.default_rng(seed).choice(room**2, n, replace=False)
    return np.stack([drawn // room, drawn % room], 1)


def run(places: np.ndarray, right: np.ndarray, kernels: str = "odd", seed: int = 0) -> pd.DataFrame:
    """Rows of squares (n,), black and red ones in turn, that are right (n, epochs) or not."""
    colour = np.arange(len(right)) % 2
    square, epoch = (part.ravel() for part in np.indices(right.shape))
    return pd.DataFrame(
        {
            "model": "resnet18",
            "kernels": kernels,
            "seed": seed,
            "epoch": (epoch + 1).astype(np.int32),
            "path": [f"{number // 2}.png" for number in square],
            "square": colour[square].astype(np.int16),
            "row": places[square, 0].astype(np.int16),
            "col": places[square, 1].astype(np.int16),
            "predicted": np.where(right.ravel(), colour[square], 1 - colour[square]).astype(
                np.int16
            ),
        }
    )


def drawn(logits: np.ndarray, epochs: int, seed: int = 0) -> np.ndarray:
    """Whether squares (n,) are seen in each epoch (n, epochs), each epoch more of them."""
    chance = 1 / (1 + np.exp(-(logits[:, None] + np.linspace(-0.5, 0.5, epochs))))
    return np.random.default_rng(seed).random(chance.shape) < chance
