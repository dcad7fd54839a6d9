"""Archives from the network, unpacked without trust."""

import gzip
import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from .errors import InputError

_MOST_EXPANSION = 20  # photographs hardly shrink; a bomb grows a thousandfold
_SPARE = 100 << 20  # bytes, for small archives of text
_ENTRY = 512  # bytes that a member costs at least, or a bomb of empty files would pass
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
)


def unpack(archive: Path, folder: Path, *, inner: str | None = None) -> None:
    """Unpack a tar, of any compression, or a zip into `folder`.

    `inner` is an archive among the members that is unpacked there too, and removed. Raises
    `InputError` naming the member if it would land outside `folder`, links outside, is no plain
    file or folder, or if the whole is larger than any archive of images; and if it is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    most = archive.stat().st_size * _MOST_EXPANSION + _SPARE
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, most)
        else:
            _unpack_tar(archive, folder, most)
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise InputError(
            f"archive {archive} cannot be unpacked ({reason}): replace it and run again"
        ) from error
    if inner:
        within = folder / inner
        if not within.is_file():
            raise InputError(f"archive {archive} has no {inner}: it is laid out in another way")
        unpack(within, folder)
        within.unlink()


def _unpack_zip(archive: Path, folder: Path, most: int) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            most = _allowance(archive, member.filename, member.file_size, most)
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise InputError(
                    f"archive {archive}: {path} would be extracted outside the destination; "
                    "do not use it"
                )
        content.extractall(folder)


def _unpack_tar(archive: Path, folder: Path, most: int) -> None:
    def check(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        nonlocal most
        most = _allowance(archive, member.name, member.size, most)
        try:
            return tarfile.data_filter(member, path)
        except tarfile.FilterError as error:
            raise InputError(f"archive {archive}: {error}; do not use it") from error

    with tarfile.open(archive) as content:
        content.extractall(folder, filter=check)
        while content.fileobj.read(1 << 20):  # tarfile stops at damage; the checksum is at the end
            pass


def _allowance(archive: Path, member: str, size: int, most: int) -> int:
    """Bytes that the members after this one may have."""
    left = most - size - _ENTRY
    if left < 0:
        raise InputError(
            f"archive {archive}: with {member} it grows more than {_MOST_EXPANSION}-fold, "
            "which no archive of images does"
        )
    return left
