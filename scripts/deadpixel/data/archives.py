"""Archives from the network, unpacked without trust."""

import errno
import os
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from ..errors import InputError, naming

_MOST_EXPANSION = 20  # photographs hardly shrink; a bomb grows a thousandfold
_SPARE = 100 << 20  # bytes, for small archives of text
_ENTRY = 512  # bytes that a member costs at least, or a bomb of empty files would pass
_ENCRYPTED = 0x1  # flag of a member of a zip
_BY_NAMES = {  # what members' names can lead to; other errors of a disk are not the archive's
    *(errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.EINVAL, errno.EILSEQ, errno.ELOOP),
}


def unpack(archive: Path, folder: Path, *, inner: str | None = None) -> None:
    """Unpack a tar, of any compression, or a zip into `folder`.

    `inner` is an archive among the members that is unpacked there too, and removed. Raises
    `InputError` naming the member if it would land outside `folder`, links outside or to nothing,
    is no plain file or folder, is encrypted or occurs twice, or if the whole is larger than any
    archive of images; and if it is damaged, cut off or without files.
    """
    if not archive.is_file():
        raise InputError(f"archive {archive} is no plain file: replace it and run again")
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(
            f"archive {archive} is to be unpacked into {folder}, which is no folder: remove that "
            "and run again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    members = _Members(archive)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, members)
        else:
            _unpack_tar(archive, folder, members)
    except InputError:
        raise
    except Exception as error:  # almost anything is raised of a damaged archive
        if isinstance(error, OSError) and error.errno not in {None, *_BY_NAMES}:
            raise
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise InputError(
            f"archive {archive} cannot be unpacked ({reason}): replace it and run again"
        ) from error
    members.check_any()
    if inner:
        within = folder / inner
        if not within.is_file():
            raise InputError(
                f"archive {archive} has no {inner}, it is laid out in another way: replace it "
                "and run again"
            )
        with naming(f"archive {archive}"):
            unpack(within, folder)
        within.unlink()


class _Members:
    """What is checked of every member, of a tar or a zip."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._left = archive.stat().st_size * _MOST_EXPANSION + _SPARE  # bytes
        self._files: set[PurePosixPath] = set()

    def check(self, name: str, size: int, *, is_folder: bool) -> None:
        self._left -= size + _ENTRY
        if self._left < 0:
            raise InputError(
                f"archive {self._archive}: with {name} it grows more than {_MOST_EXPANSION}-fold, "
                "which no archive of images does; do not use it"
            )
        path = PurePosixPath(name.replace("\\", "/").casefold())
        if is_folder and size:
            self.refuse(name, "is a folder with content")
        if path in self._files:
            self.refuse(name, "occurs twice, or differs from another in case only")
        if not is_folder:
            self._files.add(path)

    def check_any(self) -> None:
        if not self._files:
            raise InputError(f"archive {self._archive} has no files: replace it and run again")

    def refuse(self, name: str, reason: str) -> None:
        raise InputError(f"archive {self._archive}: {name!r} {reason}; do not use it")


def _unpack_zip(archive: Path, folder: Path, members: _Members) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            members.check(member.filename, member.file_size, is_folder=member.is_dir())
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                members.refuse(str(path), "would be extracted outside the destination")
            if member.flag_bits & _ENCRYPTED:
                members.refuse(member.filename, "is encrypted")
            if "\0" in member.orig_filename:
                members.refuse(member.orig_filename, "has a name that ends early")
        content.extractall(folder)


class _WholeTar(tarfile.TarInfo):
    """A member; where there is none, the archive must say that it ends there.

    Python's own reader takes a cut between two members, or a damaged one, for the end.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        at_start = archive.offset == 0
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue]
            raise
        except tarfile.HeaderError as error:
            if at_start:
                raise
            raise tarfile.ReadError(f"it is cut off or damaged, {error}") from error


def _unpack_tar(archive: Path, folder: Path, members: _Members) -> None:
    def check(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        members.check(member.name, member.size, is_folder=member.isdir())
        try:
            return tarfile.data_filter(member, path)
        except tarfile.FilterError as error:
            raise InputError(f"archive {archive}: {error}; do not use it") from error

    with tarfile.open(archive, tarinfo=_WholeTar) as content:
        content.extractall(folder, filter=check)
        for member in content:
            if member.issym() and not (folder / member.name).exists():
                members.refuse(member.name, "is a link to nothing")
        while content.fileobj.read(1 << 20):  # tarfile stops at damage; the checksum is at the end
            pass
