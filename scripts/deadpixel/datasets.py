"""Image folders, one sub-folder per class, and their split into train, valid and test."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .errors import InputError
from .images import upright_size

SPLITS = ("train", "valid", "test")
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def scan(root: Path, *, exclude: Iterable[str] = ()) -> pd.DataFrame:
    """Every image below `root`, as columns path (relative), label, class_name, width, height.

    Classes are the sub-folders in the order of their names, less those in `exclude`; files that
    are no images by their suffix, and hidden ones, are passed over. Width and height are in pixels
    of the upright image. Raises `InputError` if the folder, its classes or a class's images are
    missing, or an image's header cannot be read.
    """
    if not root.is_dir():
        raise InputError(
            f"image folder {root} is missing: put the data set there, or mend the config"
        )
    excluded = set(exclude)
    folders = sorted(
        folder
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and folder.name not in excluded
    )
    if not folders:
        raise InputError(f"image folder {root} has no sub-folders: one per class is expected")
    rows = []
    for label, folder in enumerate(folders):
        files = sorted(file for file in folder.iterdir() if _is_image(file))
        if not files:
            raise InputError(f"class folder {folder} has no images")
        for file in files:
            width, height = upright_size(file)
            rows.append((str(file.relative_to(root)), label, folder.name, width, height))
    return pd.DataFrame(rows, columns=["path", "label", "class_name", "width", "height"])


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")


def split(images: pd.DataFrame, fractions: Mapping[str, float], *, seed: int) -> pd.DataFrame:
    """`images` with a column split: train, valid or test, stratified by class and drawn by `seed`.

    Within each class the borders between the splits fall on the nearest whole image. Raises
    `InputError` if a split ends up with fewer than two images.
    """
    borders = np.cumsum([fractions[name] for name in SPLITS])
    names = np.empty(len(images), dtype=object)
    for label, rows in images.groupby("label").indices.items():
        counts = np.diff(np.rint(borders * len(rows)).astype(int), prepend=0)
        drawn = np.random.default_rng([seed, label]).permutation(rows)
        names[drawn] = np.repeat(SPLITS, counts)
    sizes = {name: int((names == name).sum()) for name in SPLITS}
    if min(sizes.values()) < 2:
        raise InputError(
            f"{len(images)} images split into {sizes}: every split needs at least two; "
            "add images or change the fractions"
        )
    return images.assign(split=names)
