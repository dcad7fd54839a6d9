"""Squares of the micro-object task: in which epochs each is seen, and how sensitive its place is.

What the functions here and in `seen` and `explained` take:

seen: columns of `schemas.SEEN` with model, kernels and seed. maps: the effective receptive field
(H, W) of the output of each run's starting network, by model, kernels and seed.
size: side of the squares, px.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError, naming
from ..imbalance import mean_tile, repeated, tile_contrast, tile_period
from . import pairs, stats
from .pairs import RUN
from .render import NUMBER, Column

INTERVAL = (
    Column("low", NUMBER, "95 % from"),
    Column("high", NUMBER, "95 % to"),
)
Maps = Mapping[tuple[str, str, int], np.ndarray]
ROUNDING = 1e-9  # within which sensitivities, relative to their mean, are the same
_SQUARE = ["path", "square", "row", "col"]


def learning(seen: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Rows of each run's epochs up to the first with more than `threshold` right; all if none has.

    Of later epochs there is little to say: nearly every square is seen.
    """
    right = seen.assign(right=seen["predicted"] == seen["square"])
    share: Any = right.groupby([*RUN, "epoch"], observed=True)["right"].mean()
    above = share[share > threshold].reset_index()
    last = above.groupby(RUN, observed=True)["epoch"].min().rename("last")
    later: Any = seen["epoch"] > seen.join(last, on=RUN)["last"]
    return seen.loc[~later]


def under_squares(field: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """Mean of a map (H, W) under squares of `size` px, (n,), by top and left pixel (n, 2).

    From a summed-area table (Crow, SIGGRAPH 1984).
    """
    table = np.pad(field.astype(float).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (top, left), (bottom, right) = corners.T, corners.T + size
    sums = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return sums / size**2


@dataclass(frozen=True)
class Run:
    """The squares of one run.

    name: its values of `RUN`. colour: label of each square (n,). corners: top and left pixel
    (n, 2). right: whether it was seen, (n, epochs). tile and field: mean under it (n,) of the mean
    tile, and of the map over its mean. room: how many rows and columns corners can lie in.
    contrast: root mean square of the mean tile - 1, pixel by pixel.
    """

    name: tuple[str, str, int]
    colour: np.ndarray
    corners: np.ndarray
    right: np.ndarray
    tile: np.ndarray
    field: np.ndarray
    room: tuple[int, int]
    contrast: float


def runs(seen: pd.DataFrame, maps: Maps, size: int) -> Iterator[Run]:
    """Every run, with its squares of `size` px.

    Raises `InputError` for a run without a map or with an unfit one, and for squares that are not
    in every epoch at one place.
    """
    rows = seen.assign(right=seen["predicted"] == seen["square"])
    for (model, kernels, seed), of_run in rows.groupby(RUN, sort=False, observed=True):  # pyright: ignore[reportGeneralTypeIssues]
        name = (str(model), str(kernels), int(seed))
        with naming(f"{model}, kernels {kernels}, seed {seed}"):
            if name not in maps:
                raise InputError("there is no map of its starting network; measure it first")
            run = _run(name, of_run, maps[name], size)
        yield run


def _run(name: tuple[str, str, int], rows: pd.DataFrame, field: np.ndarray, size: int) -> Run:
    by_epoch = rows.set_index([*_SQUARE, "epoch"])["right"]
    if by_epoch.index.has_duplicates:
        raise InputError("a square is there twice in an epoch; give each run and each image once")
    right = by_epoch.unstack("epoch")  # noqa: PD010, what is missing stays
    if right.isna().to_numpy().any():
        raise InputError("a square is not at the same place in every epoch; train the run again")
    squares = right.index.to_frame(index=False)
    corners = squares[["row", "col"]].to_numpy(np.int64)
    room = (field.shape[0] - size + 1, field.shape[1] - size + 1)
    if (corners < 0).any() or (corners >= room).any():
        raise InputError(
            f"a square of {size} px is not within its map of {field.shape[0]} x {field.shape[1]} "
            "px; measure the map at the size of the images"
        )
    period = tile_period(field.shape)
    tile = mean_tile(field, period)
    tiles = repeated(tile, field.shape)
    of_tile, of_field = (
        under_squares(part, corners, size) for part in (tiles, field / field.mean())
    )
    if not ((of_tile > 0) & (of_field > 0)).all():
        raise InputError("its map is not positive under every square; average it over more images")
    contrast = tile_contrast(tile)
    colour = squares["square"].to_numpy()
    return Run(name, colour, corners, right.to_numpy(bool), of_tile, of_field, room, contrast)


def over_runs(name: str, values: np.ndarray) -> dict[str, Any]:
    """Mean over runs (n,), its 95 % interval (Student's t) from three runs on, and their number."""
    mean = stats.mean_difference(np.zeros(len(values)), values)
    return {name: mean.mean, **pairs.interval(mean), "n_runs": mean.n}
