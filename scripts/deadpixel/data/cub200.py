"""CUB-200-2011 by its own lists: which images there are, their classes and their split."""

from pathlib import Path, PurePosixPath

import pandas as pd

from ..errors import InputError
from ..logs import log
from . import folders, splits

_RESTORE = "restore the lists of CUB-200-2011"
_SPLITS = {"1": "train", "0": "test"}


def scan(root: Path) -> pd.DataFrame:
    """The images of the lists, which lie above the image folder `root`.

    Columns as of `folders.scan`, and split: train or test as the data set's authors say. Raises
    `InputError` if a list is missing, damaged or contradicts another or the folders, or if it
    names an image that cannot be read.
    """
    lists = root.parent
    paths = _read(lists / "images.txt")
    classes = _read(lists / "classes.txt")
    class_ids = _read(lists / "image_class_labels.txt")
    trains = _read(lists / "train_test_split.txt")
    if sorted(classes) != [*range(1, len(classes) + 1)]:
        raise InputError(f"{lists / 'classes.txt'}: its numbers are not 1, 2, 3, ...; {_RESTORE}")
    names = {str(number): name for number, name in classes.items()}
    _check_images(paths, lists / "images.txt")
    _check_values(class_ids, paths, names, lists / "image_class_labels.txt")
    _check_values(trains, paths, _SPLITS, lists / "train_test_split.txt")
    for number, path in paths.items():
        if PurePosixPath(path).parts[0] != names[class_ids[number]]:
            raise InputError(
                f"{lists / 'image_class_labels.txt'}: image {number} is of class "
                f"{names[class_ids[number]]!r}, but {path!r} lies in another folder; {_RESTORE}"
            )
    rows = pd.DataFrame(
        {
            "path": paths.values(),
            "label": [int(class_ids[number]) - 1 for number in paths],
            "class_name": [names[class_ids[number]] for number in paths],
            "split": [_SPLITS[trains[number]] for number in paths],
            "sha256": folders.checksums([root / path for path in paths.values()]),
        }
    )
    splits.check_classes(rows, _SPLITS.values())
    _name_copies(rows)
    return rows


def _read(file: Path) -> dict[int, str]:
    """The values of a list by their numbers, in its order."""
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise InputError(f"list {file} is no plain file: {_RESTORE}")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"list {file} is missing: CUB-200-2011 has it above its image folder"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list {file} cannot be read ({error}): {_RESTORE}") from error
    values: dict[int, str] = {}
    for at, line in enumerate(lines, start=1):
        number, _, value = line.rstrip().partition(" ")
        if not (number.isascii() and number.isdecimal() and value.isprintable() and value) or (
            int(number) in values
        ):
            raise InputError(
                f"{file}, line {at}: {line[:80]!r} is no number of its own, a space and a value; "
                f"{_RESTORE}"
            )
        values[int(number)] = value
    if not values:
        raise InputError(f"{file} is empty: {_RESTORE}")
    return values


def _check_images(paths: dict[int, str], file: Path) -> None:
    seen: set[str] = set()
    for number, path in paths.items():
        parts = PurePosixPath(path).parts
        if len(parts) != 2 or {"/", ".."} & {*parts}:
            raise InputError(
                f"{file}: image {number}, {path[:80]!r}, is no folder and file; {_RESTORE}"
            )
        if path in seen:
            raise InputError(f"{file}: {path!r} occurs twice; {_RESTORE}")
        seen.add(path)


def _check_values(
    values: dict[int, str], paths: dict[int, str], known: dict[str, str], file: Path
) -> None:
    """Each image has a value, which is among those known, and nothing else has."""
    for number in [*paths, *values]:
        if number not in values:
            raise InputError(f"{file} lacks image {number}, {paths[number]}; {_RESTORE}")
        if number not in paths:
            raise InputError(f"{file} has image {number}, which images.txt lacks; {_RESTORE}")
        if values[number] not in known:
            raise InputError(
                f"{file}: image {number} has {values[number][:80]!r}, which is not one of "
                f"{len(known)} known; {_RESTORE}"
            )


def _name_copies(rows: pd.DataFrame) -> None:
    copies = splits.contradicting(rows, "split")
    if len(copies):
        log.warning(
            "%d images have a copy in the other split of the data set's authors; the first is %s",
            *(len(copies), copies["path"].iloc[0]),
        )
