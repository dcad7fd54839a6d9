"""Splits: stratified, drawn by the seed alone, and what a data set has to hold."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deadpixel.data import splits
from deadpixel.errors import InputError

FRACTIONS = {"train": 0.7, "valid": 0.15, "test": 0.15}


def _images(*sizes: int) -> pd.DataFrame:
    """A manifest of classes of these sizes, their images interleaved."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(0).permutation(labels)
    names = [str(i) for i in range(len(labels))]
    classes = [f"class{label}" for label in labels]
    return pd.DataFrame({"label": labels, "path": names, "class_name": classes, "sha256": names})


def _counts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Images by class and split."""
    return pd.crosstab(manifest["label"], manifest["split"])[[*FRACTIONS]]


def test_split_is_exact_where_it_can_be() -> None:
    manifest = splits.split(_images(20, 20, 20), FRACTIONS, seed=3)
    assert _counts(manifest).to_numpy().tolist() == [[14, 3, 3]] * 3


def test_split_is_within_one_image() -> None:
    """Of each class of whatever size; the images themselves stay as they are."""
    sizes = np.arange(6, 60)
    images = _images(*sizes)
    before = images.copy()
    manifest = splits.split(images, FRACTIONS, seed=0)
    pd.testing.assert_frame_equal(images, before)
    pd.testing.assert_frame_equal(manifest.drop(columns="split"), before)
    exact = np.outer(sizes, [*FRACTIONS.values()])
    assert np.abs(_counts(manifest) - exact).to_numpy().max() <= 1
    assert abs(manifest["split"].value_counts(normalize=True)["train"] - 0.7) < 0.01


def test_split_depends_on_the_seed_and_the_class_only() -> None:
    """Not on the other classes' images."""

    def drawn(sizes: tuple[int, int], seed: int) -> list[str]:
        manifest = splits.split(_images(*sizes), FRACTIONS, seed=seed)
        return manifest.loc[manifest["label"] == 0, "split"].tolist()

    assert drawn((20, 30), 1) == drawn((20, 30), 1) == drawn((20, 50), 1)
    assert drawn((20, 30), 1) != drawn((20, 30), 2)
    classes = splits.split(_images(20, 20), FRACTIONS, seed=1).groupby("label")["split"]
    assert len({tuple(splits) for _, splits in classes}) == 2  # nor are all drawn alike


@pytest.mark.slow
def test_every_image_can_come_into_every_split() -> None:
    seeds = range(150)
    images = _images(20, 6)
    of_first = images["label"] == 0
    drawn = [splits.split(images, FRACTIONS, seed=seed)["split"][of_first] for seed in seeds]
    share = np.mean([splits == "test" for splits in drawn], axis=0)
    assert np.abs(share - 0.15).max() < 0.12  # four standard deviations


def test_neighbouring_seeds_and_classes_draw_apart() -> None:
    """Class 1 of one seed is not class 0 of the next, nor is any other pair of them."""
    drawn = set()
    for seed in range(4):
        manifest = splits.split(_images(40, 40, 40, 40), FRACTIONS, seed=seed)
        drawn |= {tuple(splits) for _, splits in manifest.groupby("label")["split"]}
    assert len(drawn) == 16


def test_a_class_that_is_not_in_every_split() -> None:
    """The message has its name and numbers, and how many more there are."""
    counts = r"\{'train': 2, 'valid': 1, 'test': 0\}"
    message = f"class class1 has 3 images, split into {counts}, .+ .2 classes lack some.: add"
    with pytest.raises(InputError, match=message):
        splits.split(_images(20, 3, 20, 1), FRACTIONS, seed=0)
    assert (_counts(splits.split(_images(6, 7), FRACTIONS, seed=0)) >= 1).all(axis=None)


def test_a_single_class() -> None:
    with pytest.raises(InputError, match="the 20 images are of one class, class0: add another"):
        splits.split(_images(20), FRACTIONS, seed=0)


def test_copies_of_an_image_stay_together(caplog: pytest.LogCaptureFixture) -> None:
    """In the split of the first; all other images are where they would be without copies."""
    images = _images(30, 30)
    rows = images.index[images["label"] == 0]
    copied = images.copy()
    copied.loc[rows[5:15], "sha256"] = images.loc[rows[4], "sha256"]
    before = splits.split(images, FRACTIONS, seed=2)["split"]
    assert before[rows[4:15]].nunique() == 3  # or there would be nothing to see
    assert not caplog.records
    after = splits.split(copied, FRACTIONS, seed=2)["split"]
    assert (after[rows[4:15]] == before[rows[4]]).all()
    others = images.index.difference(rows[5:15])
    pd.testing.assert_series_equal(after[others], before[others])
    (record,) = caplog.records
    first = images.loc[rows[5], "path"]
    assert record.getMessage().startswith("10 images have the content of another")
    assert record.getMessage().endswith(f"the first is {first}")


def test_one_content_of_two_classes() -> None:
    """Both files are named; copies within a class are no contradiction."""
    labels = {"cat/1.png": 0, "cat/2.png": 0, "cat/3.png": 0, "dog/1.png": 1, "dog/2.png": 1}
    found = pd.DataFrame({"path": [*labels], "label": [*labels.values()], "sha256": [*"abbcd"]})
    splits.check_labels(found, Path("pets"))
    found["sha256"] = [*"abbcb"]
    with pytest.raises(
        InputError, match=re.escape("pets/cat/2.png has the same content as pets/dog/2")
    ):
        splits.check_labels(found, Path("pets"))


def _manifest(sizes: dict[str, int], classes: int) -> pd.DataFrame:
    splits = np.repeat([*sizes], [*sizes.values()])
    return pd.DataFrame({"split": splits, "label": np.arange(len(splits)) % classes})


def test_contents_are_counted() -> None:
    """A split that is swapped has another number of test images."""
    root = Path("birds/images")
    found = _manifest({"train": 13, "test": 11}, 3)
    splits.check_contents(found, root, classes=3, images=24, test_images=11)
    splits.check_contents(found, root, classes=3, images=24)
    message = "has 3 classes instead of 200, 24 images instead of 11,788, 11 test images instead"
    with pytest.raises(InputError, match=message):
        splits.check_contents(found, root, classes=200, images=11788, test_images=5794)
    with pytest.raises(InputError, match="images has 24 images instead of 25: replace it"):
        splits.check_contents(found, root, classes=3, images=25)
    with pytest.raises(InputError, match="images has 11 test images instead of 13: replace it"):
        splits.check_contents(found, root, classes=3, images=24, test_images=13)
