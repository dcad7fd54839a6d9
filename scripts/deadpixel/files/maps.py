"""Effective receptive fields as the files that hold them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from . import parquet, schemas
from .effective import Erf


def to_frame(field: Erf) -> pd.DataFrame:
    """Rows row, col, mean, se of the contract `schemas.ERF`."""
    row, col = np.indices(field.total.shape).reshape(2, -1)
    return pd.DataFrame(
        {"row": row, "col": col, "mean": field.mean.ravel(), "se": field.se.ravel()}
    )


def blocks_to_frame(blocks: Sequence[Erf]) -> pd.DataFrame:
    """Rows block, count, row, col, mean of the contract `schemas.ERF_BLOCKS`."""
    frames = [
        to_frame(block).drop(columns="se").assign(block=number, count=block.count)
        for number, block in enumerate(blocks)
    ]
    return pd.concat(frames, ignore_index=True)[schemas.ERF_BLOCKS.names]


def sums_to_frame(blocks: Mapping[int, Erf]) -> pd.DataFrame:
    """Rows of the contract `schemas.ERF_SUMS`: what numbered `blocks` add to a field."""
    frames = [pd.DataFrame(columns=schemas.ERF_SUMS.names)]
    for number, block in blocks.items():
        row, col = np.indices(block.total.shape).reshape(2, -1)
        sums = {"total": block.total.ravel(), "total_squares": block.total_squares.ravel()}
        frame = pd.DataFrame({"row": row, "col": col, **sums})
        frames.append(frame.assign(block=number, count=block.count))
    return pd.concat(frames[1:] or frames)[schemas.ERF_SUMS.names]


def read_sums(paths: Iterable[Path | str]) -> list[Erf]:
    """Blocks of one field from the files of all its shards, in the order of their numbers."""
    blocks = {}
    for path in paths:
        for number, rows in parquet.read(path, schemas.ERF_SUMS).groupby("block"):
            total, squares = (to_field(rows, path, of) for of in ("total", "total_squares"))
            blocks[number] = Erf(total, squares, int(rows["count"].iloc[0]))
    return [blocks[number] for number in sorted(blocks)]


def merged_facts(shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Provenance of what several jobs have computed together: every device, all their seconds."""
    devices = dict.fromkeys(shard["device"] for shard in shards)
    seconds = sum(shard["seconds"] for shard in shards)
    return {**shards[0], "device": ", ".join(devices), "seconds": seconds}


def write(
    blocks: Sequence[Erf], path: Path | str, blocks_path: Path | str, facts: Mapping[str, Any]
) -> None:
    """The field over all `blocks` as ``erf.parquet``, and each of them as ``blocks.parquet``."""
    merged = sum(blocks[1:], start=blocks[0])
    facts = {**facts, "n_images": merged.count}
    parquet.write(to_frame(merged), path, schemas.ERF, facts)
    parquet.write(blocks_to_frame(blocks), blocks_path, schemas.ERF_BLOCKS, facts)


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
    """R (H, W) of one file, with what it is of: dataset, model, weights, kernels and target."""

    key: dict[str, str]
    n_images: int
    mean: np.ndarray


def read(path: Path | str) -> StoredField:
    """One ``erf.parquet``; its folders say what it is of."""
    mean = to_field(parquet.read(path, schemas.ERF), path)
    n_images = parquet.read_provenance(path).get("n_images")
    if not isinstance(n_images, int):
        raise InputError(
            f"{path}: does not say how many images it is of: delete the file and run again"
        )
    return StoredField(parquet.partitions(path), n_images, mean)


def read_blocks(path: Path | str) -> tuple[list[np.ndarray], list[int]]:
    """Means (H, W) and numbers of images of the blocks of one ``blocks.parquet``."""
    blocks = [block for _, block in parquet.read(path, schemas.ERF_BLOCKS).groupby("block")]
    return [to_field(block, path) for block in blocks], [
        int(block["count"].iloc[0]) for block in blocks
    ]
