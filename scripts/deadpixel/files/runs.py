"""What a training run leaves beside its epochs, as the files that hold it.

rows: of `training.fit`, one an epoch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import schemas


def steps_to_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of the contract `schemas.STEPS`, steps counted from 1 through all epochs."""
    of_epochs = [pd.DataFrame(row["steps"], columns=["images", "right"]) for row in rows]
    numbers = [row["epoch"] for row in rows]
    frame = pd.concat(of_epochs, keys=numbers, names=["epoch"]).reset_index("epoch")
    return frame.assign(step=np.arange(len(frame)) + 1)[schemas.STEPS.names]  # pyright: ignore[reportReturnType]


def seen_to_frame(
    rows: Sequence[Mapping[str, Any]], paths: Sequence[str], corners: np.ndarray
) -> pd.DataFrame:
    """Rows of the contract `schemas.SEEN`: epochs, images and their squares, in this order.

    paths: of the test images. corners: top and left pixel of the squares of each, (N, classes, 2).
    """
    images, squares = corners.shape[:2]
    once = pd.DataFrame(corners.reshape(-1, 2), columns=["row", "col"])
    once = once.assign(path=np.repeat(paths, squares), square=np.tile(range(squares), images))
    frame = pd.concat([once.assign(epoch=r["epoch"], predicted=r["test_predicted"]) for r in rows])
    return frame[schemas.SEEN.names]  # pyright: ignore[reportReturnType]
