"""Image folders as manifests, and their stratified split."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deadpixel import datasets
from deadpixel.errors import InputError
from publisher import CUB_CLASSES, cub_files

FRACTIONS = {"train": 0.7, "valid": 0.15, "test": 0.15}


def _image(file: Path, size: tuple[int, int] = (6, 4), orientation: int | None = None) -> Path:
    """Write an image of `size` (width, height) as stored."""
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(file, exif=exif)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, with much beside them that is no image and no class."""
    for name in ("wren/2.jpg", "wren/10.png", "wren/1.JPG", "Zebra/a.png"):
        _image(tmp_path / name)
    for name in (".hidden/a.jpg", "background/a.jpg", "wren/.1.jpg", "wren/._2.jpg", "stray.jpg"):
        _image(tmp_path / name)
    for name in (".DS_Store", "wren/.DS_Store", "wren/Thumbs.db", "wren/notes.txt", "README.md"):
        (tmp_path / name).write_text("no image")
    return tmp_path


def test_scan_lists_images_by_class(root: Path) -> None:
    """Classes and files are in the order of their names; only images are listed."""
    found = datasets.scan(root, exclude=["background"])
    assert [*found] == ["path", "label", "class_name", "width", "height"]
    assert found.to_numpy().tolist() == [
        ["Zebra/a.png", 0, "Zebra", 6, 4],
        ["wren/1.JPG", 1, "wren", 6, 4],
        ["wren/10.png", 1, "wren", 6, 4],
        ["wren/2.jpg", 1, "wren", 6, 4],
    ]


def test_scan_excludes_only_what_is_named(root: Path) -> None:
    assert [*datasets.scan(root)["class_name"].unique()] == ["Zebra", "background", "wren"]
    assert [*datasets.scan(root, exclude=["Zebra", "no such"])["label"].unique()] == [0, 1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_sizes_are_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    """EXIF orientations from 5 on swap width and height."""
    _image(tmp_path / "wren" / f"a.{suffix}", (6, 4), orientation)
    found = datasets.scan(tmp_path)
    upright = (4, 6) if orientation >= 5 else (6, 4)
    assert (found["width"].item(), found["height"].item()) == upright


def _missing(root: Path) -> Path:
    return root / "missing"


def _file(root: Path) -> Path:
    return _image(root / "a.jpg")


def _no_classes(root: Path) -> Path:
    _image(root / ".hidden" / "a.jpg")
    _image(root / "background" / "a.jpg")
    return root


def _empty_class(root: Path) -> Path:
    _image(root / "a" / "a.jpg")
    (root / "b").mkdir()
    (root / "b" / "notes.txt").touch()
    return root


def _unreadable(root: Path) -> Path:
    (root / "a").mkdir()
    (root / "a" / "b.jpg").write_text("no image")
    return root


def _truncated_header(root: Path) -> Path:
    file = _image(root / "a" / "b.png")
    content = file.read_bytes()
    file.write_bytes(content[:11] + b"\x01" + content[12:])  # the header's length
    return root


@pytest.mark.parametrize(
    ("spoil", "named", "problem"),
    [
        (_missing, "missing", "is missing"),
        (_file, "a.jpg", "is missing"),
        (_no_classes, ".", "no sub-folders"),
        (_empty_class, "b", "no images"),
        (_unreadable, "a/b.jpg", "cannot be read"),
        (_truncated_header, "a/b.png", "cannot be read"),
    ],
)
def test_scan_names_what_is_wrong(tmp_path: Path, spoil, named: str, problem: str) -> None:
    where = re.escape(str(tmp_path / named))
    with pytest.raises(InputError, match=f"{where} .*{problem}"):
        datasets.scan(spoil(tmp_path), exclude=["background"])


# ------------------------------------------------------------------------------------ split


def _images(*sizes: int) -> pd.DataFrame:
    """A manifest of classes of these sizes, their images interleaved."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(0).permutation(labels)
    return pd.DataFrame({"label": labels, "path": [f"{i}.jpg" for i in range(len(labels))]})


def _counts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Images by class and split."""
    return pd.crosstab(manifest["label"], manifest["split"])[[*FRACTIONS]]


def test_split_is_exact_where_it_can_be() -> None:
    manifest = datasets.split(_images(20, 20, 20), FRACTIONS, seed=3)
    assert _counts(manifest).to_numpy().tolist() == [[14, 3, 3]] * 3


def test_split_is_within_one_image() -> None:
    """Of each class of whatever size; the images themselves stay as they are."""
    sizes = np.arange(1, 60)
    images = _images(*sizes)
    before = images.copy()
    manifest = datasets.split(images, FRACTIONS, seed=0)
    pd.testing.assert_frame_equal(images, before)
    pd.testing.assert_frame_equal(manifest.drop(columns="split"), before)
    exact = np.outer(sizes, [*FRACTIONS.values()])
    assert np.abs(_counts(manifest) - exact).to_numpy().max() <= 1
    assert abs(manifest["split"].value_counts(normalize=True)["train"] - 0.7) < 0.01


def test_split_depends_on_the_seed_and_the_class_only() -> None:
    """Not on the other classes' images."""

    def drawn(sizes: tuple[int, int], seed: int) -> list[str]:
        manifest = datasets.split(_images(*sizes), FRACTIONS, seed=seed)
        return manifest.loc[manifest["label"] == 0, "split"].tolist()

    assert drawn((20, 30), 1) == drawn((20, 30), 1) == drawn((20, 50), 1)
    assert drawn((20, 30), 1) != drawn((20, 30), 2)
    classes = datasets.split(_images(20, 20), FRACTIONS, seed=1).groupby("label")["split"]
    assert len({tuple(splits) for _, splits in classes}) == 2  # nor are all drawn alike


def test_every_image_can_come_into_every_split() -> None:
    seeds = range(150)
    images = _images(20)
    drawn = [datasets.split(images, FRACTIONS, seed=seed)["split"] for seed in seeds]
    share = np.mean([splits == "test" for splits in drawn], axis=0)
    assert np.abs(share - 0.15).max() < 0.12  # four standard deviations


def test_split_of_too_few() -> None:
    """The message has the numbers."""
    with pytest.raises(InputError, match=r"6 images .*'train': 4, 'valid': 1, 'test': 1"):
        datasets.split(_images(6), FRACTIONS, seed=0)
    assert datasets.split(_images(14), FRACTIONS, seed=0)["split"].value_counts().min() == 2


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Image folder of a small CUB-200-2011."""
    for name, content in cub_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path / "CUB_200_2011/images"


def test_cub200_has_its_own_order_labels_and_split(birds: Path) -> None:
    found = datasets.scan_cub200(birds)
    assert [*found] == ["path", "label", "class_name", "width", "height", "split"]
    first = found.iloc[0]
    assert first["path"] == ("001.Black_footed_Albatross/Black_footed_Albatross_0001_796101.jpg")
    assert (first["width"], first["height"], first["split"]) == (91, 71, "train")
    assert found["label"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert [*found["class_name"].unique()] == CUB_CLASSES
    assert found["split"].tolist() == ["train", "test"] * 12


def test_cub200s_lists_count_whatever_their_order(birds: Path) -> None:
    before = datasets.scan_cub200(birds)
    file = birds.parent / "train_test_split.txt"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    pd.testing.assert_frame_equal(datasets.scan_cub200(birds), before)


@pytest.mark.parametrize(
    "name", ["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"]
)
def test_cub200s_lists_are_whole(birds: Path, name: str) -> None:
    file = birds.parent / name
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    if name != "images.txt":
        with pytest.raises(InputError, match=r"a list lacks 003\.Sooty_Albatross/Sooty_Alb"):
            datasets.scan_cub200(birds)
    file.unlink()
    with pytest.raises(InputError, match=f"list .+{name} is missing"):
        datasets.scan_cub200(birds)


def test_cub200s_images_are_there(birds: Path) -> None:
    lost = sorted(birds.glob("002*/*.jpg"))[2]
    lost.unlink()
    with pytest.raises(InputError, match=f"{lost.name} cannot be read"):
        datasets.scan_cub200(birds)


def test_contents_are_counted(birds: Path) -> None:
    found = datasets.scan_cub200(birds)
    datasets.check_contents(found, birds, classes=3, images=24, test_images=12)
    datasets.check_contents(found, birds, classes=3, images=24)
    message = "has 3 classes instead of 200, 24 images instead of 11,788, 12 test images instead"
    with pytest.raises(InputError, match=message):
        datasets.check_contents(found, birds, classes=200, images=11788, test_images=5794)
    with pytest.raises(InputError, match="images has 24 images instead of 25: replace it"):
        datasets.check_contents(found, birds, classes=3, images=25)
