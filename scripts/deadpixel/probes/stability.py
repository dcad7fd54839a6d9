"""How images bear being moved, from what a network says of them at every place.

Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019. Without PyTorch, as tables
are made of it.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import InputError

AXES = ("down", "across")
_MEASURES = ["stays", "stays_integer", "pairs", "always"]


def stability(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each image along each axis, how it bears being moved, from the rows of `shift.moved`.

    Columns axis, image, confidence (the unmoved image's probability), stays (share of the other
    offsets at which its class is the unmoved one), stays_integer (of the offsets of whole pixels
    alone), pairs (Zhang's consistency in expectation: share of all pairs of offsets of whole
    pixels, drawn one after the other and so perhaps the same, that have the same class), always
    (whether the class stays at every offset: the worst case), logit_std (standard deviation of the
    logit over all offsets). Their means over images are what the papers give.
    """
    rows = rows.assign(
        stays=rows["same"].where(rows["offset"] != 0).astype(float),
        stays_integer=lambda of: of["stays"].where(of["offset"] % 1 == 0),
        integer=rows["predicted"].where(rows["offset"] % 1 == 0),
    )
    of_images = rows.groupby(["axis", "image"], sort=False)
    unmoved = rows[rows["offset"] == 0].set_index(["axis", "image"])
    measured = {
        "confidence": unmoved["probability"],
        "stays": of_images["stays"].mean(),
        "stays_integer": of_images["stays_integer"].mean(),
        "pairs": of_images["integer"].agg(_same_pairs),
        "always": of_images["same"].all(),
        "logit_std": of_images["logit"].std(ddof=0),
    }
    return pd.DataFrame(measured).reset_index()


def _same_pairs(predicted: pd.Series) -> float:
    """Probability that two draws with replacement are the same class; NaN is none."""
    return float((predicted.value_counts(normalize=True) ** 2).sum())


def at_equal_confidence(images: pd.DataFrame, edges: Sequence[float]) -> pd.DataFrame:
    """Consistency of the images that a network is about as sure of, from `stability`.

    Consistency rises with accuracy (Zhang 2019), so two networks are compared bin by bin. edges: of
    the bins of confidence, rising from 0 to 1; the last bin has its upper edge too. Columns axis,
    low, high, images (their number), and means of stays, stays_integer, pairs and always: NaN where
    there is no image. Raises `InputError` for other edges, which would lose images.
    """
    if len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or min(np.diff(edges)) <= 0:
        raise InputError(f"edges of confidence {[*edges]}: let them rise from 0 to 1")
    found = np.searchsorted(edges, images["confidence"], side="right") - 1
    bins = np.minimum(found, len(edges) - 2)
    rows = []
    for axis in images["axis"].unique():
        for number, (low, high) in enumerate(itertools.pairwise(edges)):
            chosen = images[(images["axis"] == axis) & (bins == number)]
            place = {"axis": axis, "low": low, "high": high, "images": len(chosen)}
            rows.append({**place, **chosen[_MEASURES].mean()})
    return pd.DataFrame(rows)
