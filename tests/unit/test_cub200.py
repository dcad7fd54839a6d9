"""CUB-200-2011 by its lists: what they say is taken, and what they contradict is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from deadpixel.data import cub200, packs
from deadpixel.errors import InputError
from deadpixel.files import schemas
from publisher import CUB_CLASSES, cub_files

LAST_LINE_LOST = {
    "image_class_labels.txt": r"image_class_labels\.txt lacks image 24, 003\.Sooty_Albatross/Sooty",
    "train_test_split.txt": r"train_test_split\.txt lacks image 24, 003\.Sooty_Albatross/Sooty_Alb",
    "classes.txt": r"image_class_labels\.txt: image 17 has '3', which is not one of 2 known",
}


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Image folder of a small CUB-200-2011."""
    for name, content in cub_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path / "CUB_200_2011/images"


def test_cub200_has_its_own_order_labels_and_split(birds: Path) -> None:
    found = cub200.scan(birds)
    assert {*found} == {*schemas.MANIFEST.names}
    first = found.iloc[0]
    assert first["path"] == ("001.Black_footed_Albatross/Black_footed_Albatross_0001_796101.jpg")
    assert first["sha256"] == packs.checksum(birds / first["path"])
    assert found["label"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert [*found["class_name"].unique()] == CUB_CLASSES
    assert found["split"].tolist() == ["train", "test"] * 12


def test_cub200s_lists_count_whatever_their_order(birds: Path) -> None:
    before = cub200.scan(birds)
    file = birds.parent / "train_test_split.txt"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    pd.testing.assert_frame_equal(cub200.scan(birds), before)


@pytest.mark.parametrize(
    "name", ["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"]
)
def test_cub200s_lists_are_whole(birds: Path, name: str) -> None:
    file = birds.parent / name
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    if name != "images.txt":
        with pytest.raises(InputError, match=LAST_LINE_LOST[name]):
            cub200.scan(birds)
    file.unlink()
    with pytest.raises(InputError, match=f"list .+{name} is missing"):
        cub200.scan(birds)


def test_cub200s_images_are_there(birds: Path) -> None:
    lost = sorted(birds.glob("002*/*.jpg"))[2]
    lost.unlink()
    with pytest.raises(InputError, match=f"{lost.name} is missing .+: restore or remove it"):
        cub200.scan(birds)


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(lists: Path) -> None:
        text = (lists / name).read_text()
        assert old in text
        (lists / name).write_text(text.replace(old, new, 1))

    return edit


def _fill(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda lists: (lists / name).write_bytes(content)


def _pipe(name: str) -> Callable[[Path], None]:
    def replace(lists: Path) -> None:
        (lists / name).unlink()
        os.mkfifo(lists / name)

    return replace


IMAGES, LABELS, SPLIT = "images.txt", "image_class_labels.txt", "train_test_split.txt"
DAMAGE = {
    "label of another folder": (_edit(LABELS, "\n9 2\n", "\n9 1\n"), "image 9 is of class '001"),
    "label that is no class": (
        _edit(LABELS, "\n9 2\n", "\n9 4\n"),
        "image 9 has '4', which is not",
    ),
    "label that is no number": (_edit(LABELS, "\n9 2\n", "\n9 2.0\n"), "image 9 has '2.0', which"),
    "label 0": (_edit(LABELS, "\n9 2\n", "\n9 0\n"), "image 9 has '0', which is not one of 3"),
    "split of neither kind": (
        _edit(SPLIT, "\n9 1\n", "\n9 2\n"),
        "image 9 has '2', which is not one",
    ),
    "number twice": (
        _edit(SPLIT, "\n9 1\n", "\n8 1\n"),
        "split.txt, line 9: '8 1' is no number of",
    ),
    "number too many": (_edit(SPLIT, "\n9 1\n", "\n99 0\n9 1\n"), "has image 99, which images.txt"),
    "no number": (_edit(SPLIT, "\n9 1\n", "\nnine 1\n"), "split.txt, line 9: 'nine 1' is no numb"),
    "negative": (_edit(SPLIT, "\n9 1\n", "\n-9 1\n"), "split.txt, line 9: '-9 1' is no number"),
    "comma": (
        _edit(SPLIT, "\n9 1\n", "\n9,1\n"),
        "split.txt, line 9: '9,1' is no number of its own",
    ),
    "quotes": (_edit(SPLIT, "\n9 1\n", '\n9 "1"\n'), "image 9 has '\"1\"', which is not one of 2"),
    "no value": (
        _edit(SPLIT, "\n9 1\n", "\n9\n"),
        "split.txt, line 9: '9' is no number of its own",
    ),
    "empty line": (_edit(SPLIT, "\n9 1\n", "\n\n9 1\n"), "split.txt, line 9: '' is no number"),
    "empty": (_fill(SPLIT, b""), "split.txt is empty"),
    "bytes": (_fill(SPLIT, b"1 \xff\n"), "split.txt cannot be read"),
    "UTF-16": (_fill(SPLIT, "1 1\n".encode("utf-16")), "split.txt cannot be read"),
    "path outside": (
        _edit(IMAGES, "\n9 ", "\n9 ../"),
        "image 9, '../002.Lay.+ is no folder and file",
    ),
    "parent": (_edit(IMAGES, "\n9 002.Laysan_Albatross", "\n9 .."), "is no folder and file"),
    "absolute path": (_edit(IMAGES, "\n9 ", "\n9 /"), "image 9, '/002.+ is no folder and file"),
    "path twice": (
        _edit(IMAGES, "Laysan_Albatross_0002_796202", "Laysan_Albatross_0001_796201"),
        r"images.txt: '002.Laysan_Albatross/Laysan_Albatross_0001_796201.jpg' occurs twice",
    ),
    "null byte": (_edit(IMAGES, ".jpg\n", "\0.jpg\n"), "line 1: .+ is no number of its own"),
    "pipe": (_pipe(IMAGES), "list .+images.txt is no plain file"),
    "class numbers": (
        _edit("classes.txt", "3 003", "4 003"),
        "classes.txt: its numbers are not 1, 2, 3",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_lists_are_named(birds: Path, damage: Callable, message: str) -> None:
    damage(birds.parent)
    with pytest.raises(InputError, match=f"{message}.+(restore the lists|lists of CUB-200-2011)"):
        cub200.scan(birds)


def test_what_an_editor_leaves_is_no_damage(birds: Path) -> None:
    """A byte-order mark, line ends of Windows, spaces behind a value."""
    before = cub200.scan(birds)
    for name in (IMAGES, LABELS, SPLIT, "classes.txt"):
        content = (birds.parent / name).read_bytes()
        (birds.parent / name).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b" \r\n"))
    pd.testing.assert_frame_equal(cub200.scan(birds), before)


def test_a_class_that_is_not_tested(birds: Path) -> None:
    text = (birds.parent / SPLIT).read_text().splitlines()
    all_train = [f"{line.split()[0]} 1" if i < 8 else line for i, line in enumerate(text)]
    (birds.parent / SPLIT).write_text("\n".join(all_train))
    with pytest.raises(InputError, match=r"001\.Black.+ has 8 images, split into .*'test': 0"):
        cub200.scan(birds)


def test_copies_in_both_splits_are_named(birds: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As the authors have them: they are not moved."""
    cub200.scan(birds)
    assert not caplog.records
    first, second, *_ = sorted(birds.glob("001*/*.jpg"))
    second.write_bytes(first.read_bytes())
    assert cub200.scan(birds)["split"][:2].tolist() == ["train", "test"]
    assert "2 images have a copy in the other split" in caplog.text
    assert first.name in caplog.text
