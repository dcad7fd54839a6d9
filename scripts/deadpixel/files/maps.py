"""Effective receptive fields as the files that hold them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from . import parquet, schemas
from .effective import Erf, joined

_SECONDS = ("seconds", "seconds_waited_for_images")


def to_frame(field: Erf) -> pd.DataFrame:
    """Rows row, col, mean, se of the contract `schemas.ERF`."""
    row, col = np.indices(field.total.shape).reshape(2, -1)
    return pd.DataFrame(
        {"row": row, "col": col, "mean": field.mean.ravel(), "se": field.se.ravel()}
    )


def block_to_frame(fields: Mapping[str, Erf]) -> pd.DataFrame:
    """Rows of the contract `schemas.BLOCK`: a block of images, by target."""
    frames = [pd.DataFrame(columns=schemas.BLOCK.names)]
    for target, field in fields.items():
        row, col = np.indices(field.total.shape).reshape(2, -1)
        sums = {"total": field.total.ravel(), "total_squares": field.total_squares.ravel()}
        frame = pd.DataFrame({"row": row, "col": col, **sums})
        frames.append(frame.assign(target=target, count=field.count))
    return pd.concat(frames[1:] or frames)


def read_blocks(paths: Iterable[Path | str]) -> dict[str, list[Erf]]:
    """Each target's field over every block of images, in the order of the blocks' numbers.

    paths: a file per block. One without images, of which there may be fewer than blocks, adds none.
    """
    fields: dict[str, list[Erf]] = {}
    for path in sorted(paths, key=lambda path: int(parquet.partitions(path)["block"])):
        for target, rows in parquet.read(path, schemas.BLOCK).groupby("target", sort=False):
            total, squares = (to_field(rows, path, of) for of in ("total", "total_squares"))
            block = Erf(total, squares, int(rows["count"].iloc[0]))
            fields.setdefault(str(target), []).append(block)
    return fields


def tile_to_frame(tile: np.ndarray) -> pd.DataFrame:
    """A tile (period, period) in columns of `schemas.TILES`, all but its target."""
    row, col = np.indices(tile.shape).reshape(2, -1)
    sensitivity = {"row": row, "col": col, "sensitivity": tile.ravel()}
    return pd.DataFrame(sensitivity).assign(period=len(tile))


def merged_facts(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Provenance of what several jobs have computed together: every device, all their seconds."""
    devices = dict.fromkeys(block["device"] for block in blocks)
    seconds = {name: sum(block[name] for block in blocks) for name in _SECONDS if name in blocks[0]}
    return {**blocks[0], "device": ", ".join(devices), **seconds}


def write(blocks: Sequence[Erf], path: Path | str, facts: Mapping[str, Any]) -> Erf:
    """The field over all `blocks`, written as ``erf.parquet``; returns it."""
    merged = joined(blocks)
    parquet.write(to_frame(merged), path, schemas.ERF, {**facts, "n_images": merged.count})
    return merged


def write_none(path: Path | str, facts: Mapping[str, Any]) -> None:
    """An ``erf.parquet`` without rows, of a target that the network does not have."""
    parquet.write(
        pd.DataFrame(columns=schemas.ERF.names), path, schemas.ERF, {**facts, "n_images": 0}
    )


def to_field(frame: pd.DataFrame, origin: Path | str = "a map", values: str = "mean") -> np.ndarray:
    """Column `values` (H, W), such as R, from the rows of one map.

    Raises `InputError` naming `origin` if pixels are missing or double.
    """
    height, width = (1 + max(frame[axis], default=-1) for axis in ("row", "col"))
    ordered = frame.sort_values(["row", "col"])
    if len(frame) == height * width > 0:
        row, col = np.indices((int(height), int(width))).reshape(2, -1)
        each_once = np.array_equal(ordered["row"], row) and np.array_equal(ordered["col"], col)
        if each_once and np.isfinite(ordered[values]).all():
            return ordered[values].to_numpy().reshape(int(height), int(width))
    raise InputError(
        f"{origin}: its {len(frame)} rows are not one finite number for each pixel of a map: "
        "delete the file and run again"
    )


@dataclass(frozen=True)
class StoredField:
    """R (H, W) of one file, with what it is of: dataset, model, weights, kernels and target.

    se: its standard errors (H, W) over images; NaN of one image.
    """

    key: dict[str, str]
    n_images: int
    mean: np.ndarray
    se: np.ndarray


def read(path: Path | str) -> StoredField:
    """One ``erf.parquet``; its folders say what it is of."""
    rows = parquet.read(path, schemas.ERF)
    mean = to_field(rows, path)
    of_one_image = bool(np.isnan(rows["se"]).all())
    se = np.full_like(mean, np.nan) if of_one_image else to_field(rows, path, "se")
    n_images = parquet.read_provenance(path).get("n_images")
    if not isinstance(n_images, int):
        raise InputError(
            f"{path}: does not say how many images it is of: delete the file and run again"
        )
    return StoredField(parquet.partitions(path), n_images, mean, se)


def read_each(paths: Iterable[Path | str]) -> list[StoredField]:
    """Those of several ``erf.parquet`` files whose target the network has."""
    return [read(path) for path in paths if parquet.read_provenance(path).get("n_images") != 0]


def read_starts(paths: Iterable[Path | str]) -> dict[tuple[str, str, int], np.ndarray]:
    """R (H, W) of each run's network at its start, by model, kernels and seed."""
    return {
        (key["model"], key["kernels"], int(seed)): to_field(rows, path)  # pyright: ignore[reportArgumentType]
        for path in paths
        for key in [parquet.partitions(path)]
        for seed, rows in parquet.read(path, schemas.STARTS).groupby("seed")
    }
