"""Image folders as manifests, and their stratified split."""

import contextlib
import hashlib
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deadpixel.data import folders, splits
from deadpixel.errors import InputError

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
    found = folders.scan(root, exclude=["background"])
    assert [*found] == ["path", "label", "class_name", "width", "height", "sha256"]
    assert found.drop(columns="sha256").to_numpy().tolist() == [
        ["Zebra/a.png", 0, "Zebra", 6, 4],
        ["wren/1.JPG", 1, "wren", 6, 4],
        ["wren/10.png", 1, "wren", 6, 4],
        ["wren/2.jpg", 1, "wren", 6, 4],
    ]


def test_scan_has_checksums(root: Path) -> None:
    found = folders.scan(root).set_index("path")["sha256"]
    for path, sha256 in found.items():
        assert sha256 == hashlib.sha256((root / path).read_bytes()).hexdigest()


def test_scan_excludes_only_what_is_named(root: Path) -> None:
    """A name that is none of the sub-folders is a mistake; near ones are told."""
    assert [*folders.scan(root)["class_name"].unique()] == ["Zebra", "background", "wren"]
    assert [*folders.scan(root, exclude=["Zebra"])["label"].unique()] == [0, 1]
    with pytest.raises(InputError, match="no sub-folder 'backgroud' to exclude, but background:"):
        folders.scan(root, exclude=["backgroud"])


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_sizes_are_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    """EXIF orientations from 5 on swap width and height."""
    _image(tmp_path / "wren" / f"a.{suffix}", (6, 4), orientation)
    found = folders.scan(tmp_path)
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
    ("spoil", "named", "problem", "exclude"),
    [
        (_missing, "missing", "is missing", []),
        (_file, "a.jpg", "is missing", []),
        (_no_classes, ".", "no sub-folders", ["background"]),
        (_empty_class, "b", "no images", []),
        (_unreadable, "a/b.jpg", "cannot be read", []),
        (_truncated_header, "a/b.png", "cannot be read", []),
    ],
)
def test_scan_names_what_is_wrong(
    tmp_path: Path, spoil, named: str, problem: str, exclude: list[str]
) -> None:
    where = re.escape(str(tmp_path / named))
    with pytest.raises(InputError, match=f"{where} .*{problem}"):
        folders.scan(spoil(tmp_path), exclude=exclude)


def _link_to(target: str) -> Callable[[Path], None]:
    return lambda root: (root / "wren/link.jpg").symlink_to(target)


ODD_FILES = {
    "a pipe": (
        lambda root: os.mkfifo(root / "wren/p.jpg"),
        r"wren/p\.jpg is no plain file: replace",
    ),
    "a socket": (
        lambda root: _socket(root / "wren/s.png"),
        r"wren/s\.png is no plain file: replace",
    ),
    "a device": (_link_to("/dev/zero"), r"wren/link\.jpg is no plain file: replace"),
    "an empty file": (lambda root: (root / "wren/0.jpg").touch(), r"wren/0\.jpg is empty: replace"),
    "a dangling link": (
        _link_to("lost"),
        r"wren/link\.jpg is missing \(.+ link to lost\): restore",
    ),
    "a loop of links": (_link_to("link.jpg"), r"wren/link\.jpg is missing .+ restore or remove"),
    "a class that is a pipe": (
        lambda root: os.mkfifo(root / "finch"),
        r"finch is neither a folder nor a plain file: restore",
    ),
    "a class that is a dangling link": (
        lambda root: (root / "finch").symlink_to("lost"),
        r"finch is neither a folder nor a plain file, a link to lost: restore",
    ),
    "images deeper": (
        lambda root: _image(root / "wren/more/of/a.jpg"),
        r"wren/more/of/a\.jpg lies deeper than its class's folder: move it",
    ),
    "a line break": (
        lambda root: _image(root / "wren/a\nb.jpg"),
        r"wren/a\\nb\.jpg' has a control character, .+: rename it",
    ),
    "no UTF-8": (
        lambda root: _image(root / os.fsdecode(b"wren/caf\xe9.jpg")),
        r"caf\\udce9\.jpg' has a control character, or bytes that are no UTF-8, .+: rename it",
    ),
    "case": (lambda root: _image(root / "Wren/a.jpg"), "folders 'Wren' and 'wren' .+ merge or ren"),
    "a space": (lambda root: _image(root / "wren /a.jpg"), "folders 'wren' and 'wren ' .+ differ"),
    "Unicode form": (
        lambda root: [_image(root / name / "a.jpg") for name in ("\xe9t\xe9", "e\u0301te\u0301")],
        r"folders 'e\\u0301te\\u0301' and '\\xe9t\\xe9' in .+ differ in case, spaces or Unicode",
    ),
}


def _socket(file: Path) -> None:
    with contextlib.chdir(file.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(file.name)  # a whole path may be too long


@pytest.mark.parametrize(("spoil", "message"), ODD_FILES.values(), ids=ODD_FILES)
def test_scan_refuses_what_nobody_means(root: Path, spoil: Callable, message: str) -> None:
    """None of it is opened: a pipe would wait for ever."""
    spoil(root)
    with pytest.raises(InputError, match=message):
        folders.scan(root)


def test_scan_names_what_it_passes_over(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    _image(root / "__MACOSX/wren/a.jpg")
    _image(root / "stray2.png")
    (root / "wren/empty").mkdir()
    for name in ("1.heic", "2.HEIC", "3.avif"):
        (root / "wren" / name).touch()
    found = folders.scan(root, exclude=["background"])
    assert [*found["class_name"].unique()] == ["Zebra", "wren"]
    text = caplog.text
    assert f"{root / '__MACOSX'} is passed over" in text
    assert "2 images beside the class folders belong to no class" in text
    assert f"the first is {root / 'stray.jpg'}" in text
    assert "no images by their suffix: 1 .avif, 1 .db, 2 .heic, 1 .txt, 1 without a suffix" in text
    assert "2 images are passed over, of a format that is not read here (.heic): convert" in text
    assert "1 images are passed over, of a format that is not read here (.avif): convert" in text


def test_names_that_are_right_though_unusual(tmp_path: Path) -> None:
    """Long ones, a narrow no-break space as macOS writes it, every suffix of JPEG."""
    names = [f"{'x' * 250}.jpg", "at 9.41\u202fPM.png", "a.jfif", "a.jpe", "a b.JPEG"]
    for name in names:
        (tmp_path / "wren").mkdir(exist_ok=True)
        Image.new("RGB", (6, 4)).save(tmp_path / "wren" / name, "jpeg")
    found = folders.scan(tmp_path)
    assert sorted(found["path"]) == sorted(f"wren/{name}" for name in names)


def test_a_folder_that_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\): make it readable"):
        folders.scan(root)


# ------------------------------------------------------------------------------------ split


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


def test_one_content_of_two_classes(tmp_path: Path) -> None:
    """Both files are named; copies within a class are no contradiction."""
    _image(tmp_path / "cat/1.png", (3, 3))
    _image(tmp_path / "cat/2.png")
    _image(tmp_path / "dog/1.png", (5, 5))
    (tmp_path / "cat/3.png").symlink_to(tmp_path / "cat/2.png")
    splits.check_labels(folders.scan(tmp_path), tmp_path)
    (tmp_path / "dog/again.png").hardlink_to(tmp_path / "cat/2.png")
    names = f"{tmp_path / 'cat/2.png'} has the same content as {tmp_path / 'dog/again.png'}"
    with pytest.raises(InputError, match=re.escape(names)):
        splits.check_labels(folders.scan(tmp_path), tmp_path)


# -------------------------------------------------------------------------------- contents


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
