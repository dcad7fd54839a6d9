"""Splits of a data set, drawn by a seed or published, and what each has to hold."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..logs import log
from .draws import Purpose, generator

SPLITS = ("train", "valid", "test")


def split(images: pd.DataFrame, fractions: Mapping[str, float], *, seed: int) -> pd.DataFrame:
    """`images` with a column split: train, valid or test, stratified by class and drawn by `seed`.

    Within each class the borders between the splits fall on the nearest whole image; then copies
    of an image, of equal sha256, join the first of them, so that none is trained with and tested
    with. Raises `InputError` if a class is not in every split, or is the only one.
    """
    borders = np.cumsum([fractions[name] for name in SPLITS])
    names = np.empty(len(images), dtype=object)
    for label in images["label"].unique().tolist():
        rows = np.flatnonzero(images["label"] == label)
        counts = np.diff(np.rint(borders * len(rows)).astype(int), prepend=0)
        drawn = generator(seed, Purpose.SPLIT, label).permutation(rows)
        names[drawn] = np.repeat(SPLITS, counts)
    _, first, content = np.unique(images["sha256"], return_index=True, return_inverse=True)
    manifest = images.assign(split=names[first[content]])
    copies = np.flatnonzero(first[content] != np.arange(len(images)))
    if len(copies):
        log.warning(
            "%d images have the content of another, and are in its split; the first is %s",
            *(len(copies), images["path"].iloc[copies[0]]),
        )
    check_classes(manifest, SPLITS)
    return manifest


def check_classes(manifest: pd.DataFrame, splits: Iterable[str]) -> None:
    """Raise `InputError` unless there are several classes, each with images in all `splits`."""
    counts = pd.crosstab(manifest["label"], manifest["split"]).reindex(columns=[*splits])
    counts = counts.fillna(0).astype(int)
    if len(counts) < 2:
        name = manifest["class_name"].iloc[0]
        raise InputError(f"the {len(manifest)} images are of one class, {name}: add another class")
    lacking = counts[(counts == 0).any(axis=1)]
    if len(lacking):
        found = lacking.iloc[0]
        name = manifest.loc[manifest["label"] == lacking.index[0], "class_name"].iloc[0]
        raise InputError(
            f"class {name} has {found.sum()} images, split into {found.to_dict()}, and every split "
            f"needs one of each class ({len(lacking)} classes lack some): add images, exclude "
            "the class or change the shares of `split`"
        )


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
        "test images": (np.count_nonzero(manifest["split"] == "test"), test_images),
    }
    wrong = [
        f"{has:,} {what} instead of {expected:,}"
        for what, (has, expected) in found.items()
        if expected is not None and has != expected
    ]
    if wrong:
        raise InputError(f"{root} has {', '.join(wrong)}: replace it by the whole data set")


def check_labels(manifest: pd.DataFrame, root: Path) -> None:
    """Raise `InputError` if two images of equal content are of different classes."""
    copies = contradicting(manifest, "label")
    if len(copies):
        of_one = copies.loc[copies["sha256"] == copies["sha256"].iloc[0]]
        first, second, *_ = of_one.drop_duplicates(["label"])["path"]
        raise InputError(
            f"image {root / first} has the same content as {root / second}, of another class: "
            "remove the wrong one"
        )


def contradicting(manifest: pd.DataFrame, column: str) -> pd.DataFrame:
    """The images whose content occurs with several values of `column`."""
    contents = manifest.drop_duplicates(["sha256", column])["sha256"]
    return manifest.loc[manifest["sha256"].isin([*contents[contents.duplicated()]])]
