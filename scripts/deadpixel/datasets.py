"""Image folders, one sub-folder per class, and their splits: drawn by a seed or published."""

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


def scan_cub200(root: Path) -> pd.DataFrame:
    """CUB-200-2011 by its own lists, which lie above its image folder `root`.

    Columns as of `scan`, and split: train or test as the data set's authors say. Raises
    `InputError` if a list is missing, lacks an image, or names one that cannot be read.
    """
    lists = root.parent
    images = _read_list(lists / "images.txt", "path")
    images["class_id"] = _read_list(lists / "image_class_labels.txt", "class_id")
    images["trains"] = _read_list(lists / "train_test_split.txt", "trains")
    classes = _read_list(lists / "classes.txt", "class_name")
    images["class_name"] = images["class_id"].map(classes["class_name"])
    gaps = images[images.isna().any(axis=1)]
    if len(gaps):
        raise InputError(f"{lists}: a list lacks {gaps['path'].iloc[0]} or its class")
    sizes = [upright_size(root / path) for path in images["path"]]
    return pd.DataFrame(
        {
            "path": images["path"],
            "label": images["class_id"].astype(int) - 1,
            "class_name": images["class_name"],
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
            "split": np.where(images["trains"] == 1, "train", "test"),
        }
    ).reset_index(drop=True)


def _read_list(file: Path, column: str) -> pd.DataFrame:
    if not file.is_file():
        raise InputError(f"list {file} is missing: CUB-200-2011 has it above its image folder")
    return pd.read_csv(file, sep=" ", header=None, names=["id", column], index_col="id")


def check_contents(
    manifest: pd.DataFrame,
    root: Path,
    *,
    classes: int,
    images: int,
    test_images: int | None = None,
) -> None:
    """Raise `InputError` unless the data set in `root` has the published number of images."""
    found = {
        "classes": (manifest["label"].nunique(), classes),
        "images": (len(manifest), images),
        "test images": (int((manifest["split"] == "test").sum()), test_images),
    }
    wrong = [
        f"{has:,} {what} instead of {expected:,}"
        for what, (has, expected) in found.items()
        if expected is not None and has != expected
    ]
    if wrong:
        raise InputError(f"{root} has {', '.join(wrong)}: replace it by the whole data set")


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
