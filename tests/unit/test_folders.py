"""Image folders: what is listed, what is passed over and named, and what is refused."""

import contextlib
import hashlib
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from deadpixel.data import folders
from deadpixel.errors import InputError


def _image(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, len(file.name))).save(file)
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
    assert [*found] == ["path", "label", "class_name", "sha256"]
    assert found.drop(columns="sha256").to_numpy().tolist() == [
        ["Zebra/a.png", 0, "Zebra"],
        ["wren/1.JPG", 1, "wren"],
        ["wren/10.png", 1, "wren"],
        ["wren/2.jpg", 1, "wren"],
    ]
    for path, sha256 in zip(found["path"], found["sha256"], strict=True):
        assert sha256 == hashlib.sha256((root / path).read_bytes()).hexdigest()
    assert found["sha256"].nunique() > 2


def test_scan_excludes_only_what_is_named(root: Path) -> None:
    """A name that is none of the sub-folders is a mistake; near ones are told."""
    assert [*folders.scan(root)["class_name"].unique()] == ["Zebra", "background", "wren"]
    assert [*folders.scan(root, exclude=["Zebra"])["label"].unique()] == [0, 1]
    with pytest.raises(InputError, match="no sub-folder 'backgroud' to exclude, but background:"):
        folders.scan(root, exclude=["backgroud"])


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


@pytest.mark.parametrize(
    ("spoil", "named", "problem", "exclude"),
    [
        (_missing, "missing", "is missing", []),
        (_file, "a.jpg", "is missing", []),
        (_no_classes, ".", "no sub-folders", ["background"]),
        (_empty_class, "b", "no images", []),
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
