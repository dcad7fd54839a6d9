"""Links to files that are known by their checksum."""

import contextlib
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError


def digest(file: Path) -> str:
    """SHA-256 of a file; raises `InputError` if it cannot be read."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}): make it readable or remove it"
        ) from error


def lead(link: Path, file: Path) -> None:
    """Make `link` a symbolic link to `file`, whatever it was before."""
    partial = link.with_name(f".{link.name}.partial")
    with nothing_in_the_way():
        link.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        partial.symlink_to(file.resolve())
        partial.replace(link)


@contextlib.contextmanager
def nothing_in_the_way() -> Iterator[None]:
    """Name what lies where something is to be written; a full disk stays what it is."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise InputError(
            f"{error.filename} is in the way ({error.strerror}): remove it and run again"
        ) from error
