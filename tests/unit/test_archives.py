"""Archives: what is good is unpacked, what is not is refused by the member's name."""

import errno
import gzip
import io
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from deadpixel.data import archives
from deadpixel.errors import InputError
from publisher import caltech_archive, cub_archive, tar


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz"])
def test_tar_of_any_compression(tmp_path, mode):
    content = {"a/b.txt": b"one", "c.txt": b"two"}
    (tmp_path / "archive").write_bytes(tar(content, mode))
    archives.unpack(tmp_path / "archive", tmp_path / "out")
    assert files(tmp_path / "out") == content


def test_the_layouts_of_the_real_archives(tmp_path):
    (tmp_path / "cub").write_bytes(cub_archive())
    archives.unpack(tmp_path / "cub", tmp_path / "birds")
    assert len(list((tmp_path / "birds/CUB_200_2011/images").glob("*/*.jpg"))) == 24
    (tmp_path / "zip").write_bytes(caltech_archive())
    inner = "caltech-101/101_ObjectCategories.tar.gz"
    archives.unpack(tmp_path / "zip", tmp_path / "objects", inner=inner)
    assert len(list((tmp_path / "objects/101_ObjectCategories").glob("*/*.jpg"))) == 40
    assert not (tmp_path / "objects" / inner).exists()
    with pytest.raises(InputError, match=r"has no lost\.tar, it is laid out in another way"):
        archives.unpack(tmp_path / "zip", tmp_path / "again", inner="lost.tar")


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(info)
    return content.getvalue()


BAD_MEMBERS = {
    "parent": member("../stolen"),
    "parent further down": member("a/../../stolen"),
    "link outside": member("link", tarfile.SYMTYPE, "../outside"),
    "absolute link": member("link", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link outside": member("link", tarfile.LNKTYPE, "../outside"),
    "device": member("device", tarfile.CHRTYPE),
    "pipe": member("pipe", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("content", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_members_of_a_tar_that_are_refused(tmp_path, content):
    (tmp_path / "bad.tar").write_bytes(content)
    (tmp_path / "outside").write_text("precious")
    with pytest.raises(InputError, match=r"bad\.tar: .+; do not use it"):
        archives.unpack(tmp_path / "bad.tar", tmp_path / "out")
    assert set(files(tmp_path)) == {"bad.tar", "outside"}


@pytest.mark.parametrize("name", ["../stolen", "a/../../stolen", "/stolen", "..\\stolen"])
def test_members_of_a_zip_that_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good", b"1")
        archive.writestr(name, b"2")
    with pytest.raises(InputError, match=r"bad\.zip: .*stolen' would be extracted outside"):
        archives.unpack(tmp_path / "bad.zip", tmp_path / "out")
    assert set(files(tmp_path)) == {"bad.zip"}


def zip_bomb(file: Path, size: int) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(size))


def tar_bomb(file: Path, size: int) -> None:
    file.write_bytes(tar({"zeros": bytes(size)}))


def tar_of_empty_files(file: Path, size: int) -> None:
    with tarfile.open(file, "w:gz") as archive:
        for number in range(size // 512):
            archive.addfile(tarfile.TarInfo(str(number)))


@pytest.mark.slow
@pytest.mark.parametrize("bomb", [zip_bomb, tar_bomb, tar_of_empty_files])
def test_bombs(tmp_path, monkeypatch, bomb):
    monkeypatch.setattr(archives, "_SPARE", 0)
    bomb(tmp_path / "bomb", 2_000_000)
    with pytest.raises(InputError, match=r"bomb: with \w+ it grows more than 20-fold"):
        archives.unpack(tmp_path / "bomb", tmp_path / "out")
    monkeypatch.undo()
    archives.unpack(tmp_path / "bomb", tmp_path / "small enough")


@pytest.mark.parametrize("make", [cub_archive, caltech_archive])
def test_damage_is_named(tmp_path, make):
    whole = make()
    for cut in (whole[: len(whole) // 2], whole[:-9_000] + bytes(9_000), b"<html>503</html>"):
        (tmp_path / "half").write_bytes(cut)
        with pytest.raises(InputError, match=r"half cannot be unpacked \(.+replace it"):
            archives.unpack(tmp_path / "half", tmp_path / "out")


def tar_of(*names: str) -> bytes:
    return tar({name: name.encode() for name in names}, "w:")


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
@pytest.mark.parametrize("keep", [1, 3, 5])
def test_a_tar_that_is_cut_between_members(tmp_path, mode, keep):
    """Python's reader takes it for the end. The archive must say itself that it is whole."""
    content = {f"{number}.txt": bytes(600) for number in range(6)}
    whole = tar(content, "w:")
    cut = whole[: keep * (512 + 1024)]
    (tmp_path / "cut").write_bytes(gzip.compress(cut) if mode == "w:gz" else cut)
    with pytest.raises(InputError, match=r"cut cannot be unpacked \(it is cut off .+: replace it"):
        archives.unpack(tmp_path / "cut", tmp_path / "out")
    (tmp_path / "whole").write_bytes(whole[: 6 * 1536 + 512])  # one empty block will do
    archives.unpack(tmp_path / "whole", tmp_path / "there")
    assert files(tmp_path / "there") == content


def test_a_damaged_header_within_a_tar(tmp_path):
    """What follows it would be lost without a word."""
    damaged = bytearray(tar_of("a", "b", "c"))
    damaged[2 * 512 + 5] ^= 1
    (tmp_path / "bad.tar").write_bytes(damaged)
    with pytest.raises(InputError, match=r"bad\.tar cannot be unpacked \(it is cut off or damaged"):
        archives.unpack(tmp_path / "bad.tar", tmp_path / "out")


def zip_of(*names: str, flag: int = 0, method: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            with warnings.catch_warnings(action="ignore"):  # a name may be there twice
                archive.writestr(name, b"1")
    content = bytearray(file.getvalue())
    for signature, at in names and ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.index(signature) + at
        content[place] |= flag
        content[place + 2] |= method
    return bytes(content)


def two_of(kind: bytes, target: str) -> bytes:
    """A file, and a link of the same archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_of("a", flag=1), "'a' is encrypted; do not use it"),
        (zip_of("a", method=77), r"cannot be unpacked \(.+compression method.+: replace it"),
        (zip_of("a", "a"), "'a' occurs twice"),
        (zip_of("b/a", "b/./A"), "'b/./A' occurs twice, or differs from another in case only"),
        (zip_of("a/"), "'a/' is a folder with content"),
        (zip_of("x" * 300), r"cannot be unpacked \(.+name too long.+: replace it"),
        (zip_of("a", "a/b"), r"cannot be unpacked \(.+: replace it and run again"),
        (tar_of("x" * 300), r"cannot be unpacked \(.+name too long.+: replace it"),
        (two_of(tarfile.SYMTYPE, "lost"), "'link' is a link to nothing; do not use it"),
        (two_of(tarfile.SYMTYPE, "link"), "'link' is a link to nothing; do not use it"),
        (two_of(tarfile.LNKTYPE, "lost"), r"cannot be unpacked \(.+: replace it"),
        (zip_of(), "has no files: replace it"),
        (tar_of(), "has no files: replace it"),
        (bytes(10_240), "has no files: replace it"),
        (b"", r"cannot be unpacked \(.+: replace it"),
    ],
)
def test_members_that_cannot_be_had(tmp_path, content, message):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(InputError, match=f"archive {tmp_path / 'bad'}:? ?{message}"):
        archives.unpack(tmp_path / "bad", tmp_path / "out")


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_destination_that_is_no_folder(tmp_path, kind):
    (tmp_path / "good").write_bytes(tar_of("a"))
    if kind == "file":
        (tmp_path / "out").write_text("mine")
    else:
        (tmp_path / "out").symlink_to("none/none")
    with pytest.raises(InputError, match=r"good is to be .+/out, which is no folder: remove that"):
        archives.unpack(tmp_path / "good", tmp_path / "out")


def test_damage_to_an_archive_within_names_the_one_that_was_retrieved(tmp_path):
    (tmp_path / "outer").write_bytes(tar({"within.tgz": tar({"a": b"a"}, "w:gz")[:-20]}, "w:"))
    with pytest.raises(InputError, match=r"outer: archive .+within\.tgz cannot be unpacked"):
        archives.unpack(tmp_path / "outer", tmp_path / "out", inner="within.tgz")


def test_a_pipe_is_no_archive(tmp_path):
    """It is not opened, which would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is no plain file: replace it and run again"):
        archives.unpack(tmp_path / "pipe", tmp_path / "out")


def test_a_full_disk_is_not_the_archives_fault(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "good").write_bytes(tar_of("a"))
    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    with pytest.raises(OSError, match="No space left"):
        archives.unpack(tmp_path / "good", tmp_path / "out")
