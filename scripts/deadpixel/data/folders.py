"""Image folders, one sub-folder per class."""

import collections
import difflib
import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from ..errors import InputError
from ..logs import log, progress
from .packs import ARRAYS, checksum

_SUFFIXES = {
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    ARRAYS,
}

_OTHER_FORMATS = {".avif", ".cr2", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".svg"}

_NO_CLASSES = {"__MACOSX", "@eaDir"}  # what macOS and Synology put beside the folders


def scan(root: Path, *, exclude: Iterable[str] = ()) -> pd.DataFrame:
    """Every image below `root`: its path from there, label, class_name and sha256.

    Classes are the sub-folders in the order of their names, less those in `exclude`. Hidden files
    are passed over; others that are no images by their suffix are too, and named in the log. Raises
    `InputError` if the folder, its classes or a class's images are missing, two classes have one
    name but for its spelling, a class is no folder, images lie deeper, or one cannot be read. That
    each can be decoded is for `packs.pack` to say.
    """
    folders = _class_folders(root, set(exclude))
    passed_over: list[Path] = []
    files = [(label, file) for label, f in enumerate(folders) for file in _images(f, passed_over)]
    _name_passed_over(passed_over)
    return pd.DataFrame(
        {
            "path": [file.relative_to(root).as_posix() for _, file in files],
            "label": [label for label, _ in files],
            "class_name": [folders[label].name for label, _ in files],
            "sha256": checksums([file for _, file in files]),
        }
    )


def images_below(folder: Path) -> list[Path]:
    """Every image file in a folder and its sub-folders, by name; hidden ones are passed over.

    Raises `InputError` if there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"image folder {folder} is missing: name one that is there")
    return [file for entry in _visible(folder) for file in _images_of(entry)]


def _images_of(entry: Path) -> list[Path]:
    if entry.is_dir():
        return images_below(entry)
    return [entry] if _is_image(entry) else []


def checksums(files: Sequence[Path]) -> list[str]:
    """SHA-256 of each image; raises `InputError` unless it is a plain file with content."""
    found = []
    for file in progress(files, total=len(files), what="images listed"):
        _check_file(file)  # or a pipe would be waited for
        found.append(checksum(file))
    return found


def _check_file(file: Path) -> None:
    try:
        status = file.stat()
    except OSError as error:
        link = f", it is a link to {file.readlink()}" if file.is_symlink() else ""
        raise InputError(
            f"image {file} is missing ({error.strerror}{link}): restore or remove it"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"image {file} is no plain file: replace or remove it")
    if status.st_size == 0:
        raise InputError(f"image {file} is empty: replace or remove it")


def _class_folders(root: Path, exclude: set[str]) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"image folder {root} is missing: put the data set there, or fix its path")
    visible = _visible(root)
    folders = [entry for entry in visible if entry.is_dir()]
    for entry in visible:
        if not entry.is_dir() and not entry.is_file():
            link = f", a link to {entry.readlink()}" if entry.is_symlink() else ""
            raise InputError(
                f"image folder {root}: {entry.name} is neither a folder nor a plain file{link}: "
                "restore or remove it"
            )
    names = {folder.name for folder in folders}
    for name in sorted(exclude - names):
        near = difflib.get_close_matches(name, names, 3) or sorted(names)[:3]
        raise InputError(
            f"image folder {root} has no sub-folder {name!r} to exclude, but "
            f"{', '.join(near) or 'none at all'}: fix `exclude`"
        )
    for name in sorted(names & _NO_CLASSES - exclude):
        log.warning("%s is passed over: it comes from an archive's making", root / name)
    classes = [folder for folder in folders if folder.name not in exclude | _NO_CLASSES]
    strays = [entry for entry in visible if not entry.is_dir() and _is_image(entry)]
    if not classes:
        raise InputError(
            f"image folder {root} has no sub-folders, and {len(strays)} images: put the images of "
            "each class into a sub-folder"
        )
    if strays:
        log.warning(
            "%d images beside the class folders belong to no class and are passed over; "
            "the first is %s",
            *(len(strays), strays[0]),
        )
    _check_spellings(classes)
    return classes


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, hidden files left out, in the order of names."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be read ({error.strerror}): make it readable"
        ) from error
    for entry in entries:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in entry.name):
            raise InputError(
                f"{str(entry)!a} has a control character, or bytes that are no UTF-8, "
                "in its name: rename it"
            )
    return entries


def _check_spellings(folders: Iterable[Path]) -> None:
    """Names that look the same are meant to be one class, or are one on another file system."""
    known: dict[str, Path] = {}
    for folder in folders:
        name = unicodedata.normalize("NFC", folder.name).strip().casefold()
        if name in known:
            raise InputError(
                f"class folders {known[name].name!a} and {folder.name!a} in "
                f"{folder.parent} differ in case, spaces or Unicode form only: "
                "merge or rename them"
            )
        known[name] = folder


def _images(folder: Path, passed_over: list[Path]) -> list[Path]:
    """Image files of one class; what is no image goes into `passed_over`."""
    images = []
    for entry in _visible(folder):
        if entry.is_dir():
            _check_no_images_below(entry)
            passed_over.append(entry)
        elif _is_image(entry):
            images.append(entry)
        else:
            passed_over.append(entry)
    if not images:
        raise InputError(
            f"class folder {folder} has no images: add some, remove it or name it in `exclude`"
        )
    return images


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES


def _check_no_images_below(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        deeper = [name for name in sorted(names) if _is_image(Path(name)) and name[0] != "."]
        if deeper:
            raise InputError(
                f"image {Path(parent, deeper[0])} lies deeper than its class's folder: "
                "move it there, or remove it"
            )


def _name_passed_over(files: list[Path]) -> None:
    counts = collections.Counter(file.suffix.lower() or "without a suffix" for file in files)
    if counts:
        found = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
        log.info("passed over, no images by their suffix: %s; the first is %s", found, files[0])
    for suffix in sorted(counts.keys() & _OTHER_FORMATS):
        log.warning(
            "%d images are passed over, of a format that is not read here (%s): convert them to "
            "JPEG or PNG if they are meant",
            *(counts[suffix], suffix),
        )
