"""Data sets: CUB-200-2011's lists, archives, image folders, image files, downloads."""

import functools
import gzip
import hashlib
import io
import os
import random
import re
import shutil
import struct
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import publisher
from fuzz import calls
from fuzz.core import Case, Silent
from fuzz.damage import NO_FILES, damaged, written

LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


# CUB-200-2011


def cub(rng: random.Random, _: Path) -> Iterator[Case]:
    files = publisher.cub_files(each=7)
    lists = {name: files[f"CUB_200_2011/{name}"] for name in LISTS}

    def case(name: str, spoil: Callable[[Path], None], *, refuse: bool = False) -> Case:
        def run(folder: Path) -> None:
            for name, data in files.items():
                written(data)(folder / name)
            before = calls.split_cub(folder / "CUB_200_2011/images")
            spoil(folder / "CUB_200_2011")
            after = calls.split_cub(folder / "CUB_200_2011/images")
            if refuse:
                raise Silent("accepted")
            before, after = (f.sort_values("path", ignore_index=True) for f in (before, after))
            if not before.equals(after[before.columns]):
                raise Silent(f"reads {len(after)} images otherwise")

        return Case(name, run, ("CUB_200_2011",))

    def wrote(name: str, data: bytes | str) -> Callable[[Path], None]:
        return lambda folder: written(data)(folder / name)

    for name, data in lists.items():
        for what, bad in damaged(data, rng, 4):
            yield case(f"{name}: {what}", wrote(name, bad))
        for what, spoil in NO_FILES.items():
            yield case(f"{name} is {what}", lambda f, n=name, s=spoil: s(f / n), refuse=True)
        text = data.decode()
        lines = text.splitlines()
        first, second, values = *lines[:2], [line.split()[1] for line in lines]
        texts = {
            "CRLF": text.replace("\n", "\r\n"),
            "a byte order mark": "\ufeff" + text,
            "tabs": text.replace(" ", "\t"),
            "two spaces": text.replace(" ", "  "),
            "spaces behind": text.replace("\n", " \n"),
            "blank lines": text.replace("\n", "\n\n"),
            "no newline at the end": text.rstrip(),
            "a line twice": text + first + "\n",
            "a line missing": "\n".join(lines[1:]) + "\n",
            "lines shuffled": "\n".join(rng.sample(lines, len(lines))) + "\n",
            "numbers from 0": "".join(f"{n} {x}\n" for n, x in enumerate(values)),
            "values of two lines swapped": "\n".join(
                [f"1 {values[-1]}", *lines[1:-1], f"{len(lines)} {values[0]}"]
            ),
            "a header": "id value\n" + text,
            "a third column": text.replace("\n", " x\n"),
            "one column": "\n".join([*values, ""]),
            "commas": text.replace(" ", ","),
            "quotes": "".join('{} "{}"\n'.format(*x.split()) for x in lines),
            "an open quote": text.replace(" ", ' "', 1),
            "a null byte": text.replace("\n", "\0\n", 1),
            "an empty value": text.replace(first, "1 "),
            "NA": text.replace(first, "1 NA"),
            "nan": text.replace(first, "1 nan"),
            "a huge number": text.replace(first, f"1 {10**30}"),
            "a negative number": text.replace(first, "1 -1"),
            "zero": text.replace(first, "1 0"),
            "two": text.replace(first, "1 2"),
            "a fraction": text.replace(first, "1 1.5"),
            "words": text.replace(first, "1 one"),
            "a huge id": text.replace(first, f"{10**30} {values[0]}"),
            "a fractional id": text.replace(first, f"1.5 {values[0]}"),
            "an id of letters": text.replace(first, f"one {values[0]}"),
            "a comment": "# the list\n" + text,
            "a merge conflict": text.replace(
                second, f"<<<<<<< x\n{second}\n=======\n{second}\n>>>>>>> y"
            ),
            "split swapped": re.sub(" ([01])\n", lambda m: f" {1 - int(m[1])}\n", text),
            "a path upwards": text.replace(first, f"1 ../{values[0]}"),
            "an absolute path": text.replace(first, "1 /etc/passwd"),
            "another class's name": text.replace("001.", "002."),
        }
        for what, bad in texts.items():
            if bad != text:
                yield case(f"{name}: {what}", wrote(name, bad))
        yield case(f"{name}: Latin-1", wrote(name, text.replace("1", "\xe9").encode("latin-1")))
        yield case(f"{name}: UTF-16", wrote(name, text.encode("utf-16")))
        for other in LISTS:
            if other != name:
                yield case(f"{name} is {other}", wrote(name, lists[other]))
    labels = lists["image_class_labels.txt"].decode().splitlines()
    rotated = "".join(f"{x.split()[0]} {int(x.split()[1]) % 3 + 1}\n" for x in labels).encode()
    yield case("labels that contradict the folders", wrote("image_class_labels.txt", rotated))
    image = next(name for name in files if name.endswith(".jpg")).removeprefix("CUB_200_2011/")
    for what, spoil in NO_FILES.items():
        yield case(f"an image is {what}", lambda f, s=spoil: s(f / image), refuse=True)
    for what, bad in damaged(files[f"CUB_200_2011/{image}"], rng, 1):
        if what.startswith(("empty", "cut at 1 ", "zeros", "text", "backwards", "a page")):
            yield case(f"an image: {what}", wrote(image, bad), refuse=True)
    yield case(
        "an image that no list names",
        lambda f: shutil.copy(f / image, (f / image).with_name("another.jpg")),
    )
    yield case("no folder of images", lambda f: shutil.rmtree(f / "images"), refuse=True)
    yield case(
        "the folder of images is a file",
        lambda f: (shutil.rmtree(f / "images"), (f / "images").write_text("x")),
        refuse=True,
    )


# Archives

MEMBERS = {
    "birds/images/one/a.jpg": publisher.jpeg(1, (40, 30)),
    "birds/images/one/b.jpg": publisher.jpeg(2, (40, 30)),
    "birds/images/two/c.jpg": publisher.jpeg(3, (40, 30)),
    "birds/list.txt": b"1 a\n2 b\n3 c\n" * 40,
}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **more: object
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    for key, value in more.items():
        setattr(info, key, value)
    return info


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:", format=form) as content:
        for info, data in [*((member(name), data) for name, data in MEMBERS.items()), *members]:
            info.size = len(data)
            content.addfile(info, io.BytesIO(data))
    return archive.getvalue()


def _patched_zip(data: bytes, offset_local: int, offset_central: int, value: int) -> bytes:
    """Set a 16-bit field of every member, in both its headers."""
    out = bytearray(data)
    for mark, offset in ((b"PK\3\4", offset_local), (b"PK\1\2", offset_central)):
        place = data.find(mark)
        while place >= 0:
            struct.pack_into("<H", out, place + offset, value)
            place = data.find(mark, place + 4)
    return bytes(out)


# Of the headers in the file and at its end: two places, and a value for both.
ZIP_FIELDS = {
    "encrypted": (6, 8, 1),
    "unknown method": (8, 10, 99),
    "method Deflate64": (8, 10, 9),
    "newer version": (4, 6, 99),
}
HARMLESS_NAMES = {
    "long": "x" * 300,
    "deep": "/".join(["d"] * 500) + "/x",
    "newline": "birds/a\nb.jpg",
    "control characters": "birds/\x01\x1b[31m.jpg",
    "Unicode": "birds/Vögel 鳥.jpg",
    "not UTF-8": "birds/\udce9.jpg",
    "other case": "birds/LIST.TXT",
    "leading dash": "-rf",
    "tilde": "~/x",
    "drive": "C:/x",
    "a space behind": "birds/x ",
}
NAMES = {
    "absolute": "/tmp/deadpixel-fuzz-escaped",
    "upwards": "../escaped",
    "upwards within": "birds/../../escaped",
    "backslashes upwards": "..\\escaped",
    "longer than a path may be": "/".join(["d" * 200] * 30) + "/x",
    "empty": "",
    "a dot": ".",
    "two dots": "..",
    "folder of a file's name": "birds/list.txt/x",
    "file of a folder's name": "birds/images",
    "same twice": "birds/list.txt",
    "trailing slash": "birds/x/",
    "double slash": "birds//x",
}
KINDS = {
    "a hard link": (member("birds/h.jpg", tarfile.LNKTYPE, "birds/list.txt"), b""),
    "a hard link to nothing": (member("birds/h", tarfile.LNKTYPE, "birds/none"), b""),
    "a hard link outside": (member("birds/h", tarfile.LNKTYPE, "/etc/passwd"), b""),
    "a link": (member("birds/h.jpg", tarfile.SYMTYPE, "list.txt"), b""),
    "a link to nothing": (member("birds/h", tarfile.SYMTYPE, "none"), b""),
    "a link outside": (member("birds/h", tarfile.SYMTYPE, "/etc/passwd"), b""),
    "a link upwards": (member("birds/h", tarfile.SYMTYPE, "../../x"), b""),
    "a link to itself": (member("birds/h", tarfile.SYMTYPE, "h"), b""),
    "a device": (member("birds/h", tarfile.CHRTYPE), b""),
    "a pipe": (member("birds/h", tarfile.FIFOTYPE), b""),
    "an unknown type": (member("birds/h", b"Q"), b"x"),
    "no permissions": (member("birds/h", mode=0), b"x"),
    "set uid": (member("birds/h", mode=0o4777), b"x"),
    "an owner beyond": (member("birds/h", uid=2_000_000, gid=2_000_000), b"x"),
    "a time before 1970": (member("birds/h", mtime=0), b"x"),
    "a time in 2200": (member("birds/h", mtime=7258118400), b"x"),
}
HARMLESS_KINDS = [*KINDS][10:]


def _unpacked_as(what: str, name: str, form: str) -> dict[str, bytes] | None:
    """What a member of an odd name becomes; None if it has to be refused."""
    if what in HARMLESS_NAMES or what == "same twice":  # of which the last counts
        return {name: b"x"}
    if what == "double slash":
        return {"birds/x": b"x"}
    if what == "trailing slash":
        return {} if form == "zip" else {"birds/x": b"x"}
    if form != "zip" and what == "absolute":
        return {name.lstrip("/"): b"x"}
    if form != "zip" and what == "backslashes upwards":
        return {name: b"x"}  # a name like any other
    return None


def read_archives(rng: random.Random, _: Path) -> Iterator[Case]:
    def case(
        name: str,
        data: bytes | None,
        *,
        wanted: dict[str, bytes] | None = MEMBERS,
        inner: str | None = None,
        prepare: Callable[[Path], None] = lambda _: None,
        unchecked: bool = False,
    ) -> Case:
        """wanted: what it must hold; None if it must be refused. unchecked: contents may differ."""

        def run(folder: Path) -> None:
            archive = folder / "birds.archive"
            archive.write_bytes(data or b"")
            prepare(folder)
            calls.unpack(archive, folder / "out", inner)
            found = contents(folder / "out")
            outside = {p.name for p in folder.iterdir()} - {archive.name, "out", "case.log"}
            if outside:
                raise Silent(f"wrote outside: {outside}")
            if wanted is None:
                raise Silent(f"accepted, {len(found)} files")
            if found.keys() != wanted.keys():
                raise Silent(f"{sorted(found.keys() ^ wanted.keys())} lost or more")
            if not unchecked and found != wanted:
                raise Silent(f"{[k for k in wanted if found[k] != wanted[k]]} changed")

        return Case(name, run, ("birds.archive",))

    forms = {
        "tar": publisher.tar(MEMBERS, "w:"),
        "tgz": publisher.tar(MEMBERS, "w:gz"),
        "tbz": publisher.tar(MEMBERS, "w:bz2"),
        "txz": publisher.tar(MEMBERS, "w:xz"),
        "zip": publisher.zipped(MEMBERS),
        "stored zip": publisher.zipped(MEMBERS, zipfile.ZIP_STORED),
    }
    for form, data in forms.items():
        yield case(f"{form}: whole", data)
        for what, bad in damaged(data, rng, 6):
            # a tar has no checksum of what its members hold
            yield case(f"{form}: {what}", bad, unchecked=form == "tar")
        for what, spoil in NO_FILES.items():
            prepare = lambda f, s=spoil: s(f / "birds.archive")  # noqa: E731
            yield case(f"{form} is {what}", data, wanted=None, prepare=prepare)
    tar = forms["tar"]
    last = -(-len(tar.rstrip(b"\0")) // 512) * 512  # after it there are only blocks of zeros
    for place in range(512, len(tar) - 1024, max(512, (len(tar) // 18) // 512 * 512)):
        # one such block says that nothing is lost
        wanted = MEMBERS if place > last else None
        yield case(f"tar: cut at a block, {place}", tar[:place], wanted=wanted)

    plain_zip = forms["zip"]
    for what, fields in ZIP_FIELDS.items():
        yield case(f"zip: {what}", _patched_zip(plain_zip, *fields), wanted=None)
    yield case("zip: of bzip2", publisher.zipped(MEMBERS, zipfile.ZIP_BZIP2))
    yield case("zip: of LZMA", publisher.zipped(MEMBERS, zipfile.ZIP_LZMA))
    yield case("zip: something before", b"#!/bin/sh\n" + plain_zip)
    yield case("no members, zip", publisher.zipped({}), wanted=None)
    yield case("no members, tar", publisher.tar({}, "w:"), wanted=None)
    yield case("no members, tgz", publisher.tar({}, "w:gz"), wanted=None)
    for what, name in {**HARMLESS_NAMES, **NAMES}.items():
        for form in ("tar", "pax", "zip"):
            try:
                if form == "zip":
                    # a name that is there already stands in the zip twice
                    data = publisher.zipped(MEMBERS, more=[(name, b"x")])
                else:
                    kind = tarfile.GNU_FORMAT if form == "tar" else tarfile.PAX_FORMAT
                    data = tar_of((member(name), b"x"), form=kind)
            except (UnicodeError, ValueError, IndexError):
                continue
            as_what = _unpacked_as(what, name, form)
            wanted = None if as_what is None else {**MEMBERS, **as_what}
            yield case(f"a member's name, {form}: {what}", data, wanted=wanted)
    for what, (info, data) in KINDS.items():
        wanted = {**MEMBERS, info.name: data} if what in HARMLESS_KINDS else None
        if what == "a hard link":
            wanted = {**MEMBERS, info.name: MEMBERS["birds/list.txt"]}
        if what == "a link":
            wanted = MEMBERS  # `contents` passes links over
        yield case(f"tar: {what}", tar_of((info, data)), wanted=wanted)
    through = tar_of((member("birds/h", tarfile.SYMTYPE, "/tmp"), b""), (member("birds/h/x"), b"x"))
    yield case("tar: a file through a link", through, wanted=None)
    yield case("zip: a bomb", publisher.zipped({"bomb": bytes(150 << 20)}), wanted=None)
    yield case("not an archive: 7z", b"7z\xbc\xaf\x27\x1c" + rng.randbytes(999), wanted=None)
    yield case("not an archive: rar", b"Rar!\x1a\x07\x01\0" + rng.randbytes(999), wanted=None)
    yield case("not an archive: gzip of text", gzip.compress(b"text" * 999), wanted=None)
    yield case("gzip: two members", gzip.compress(tar[:5120]) + gzip.compress(tar[5120:]))

    def nested(name: str, inner: bytes, place: str, wanted: dict | None) -> Case:
        data = publisher.zipped({"x/inner.tgz": inner, "x/readme": b"x"})
        return case(f"inner: {name}", data, wanted=wanted, inner=place)

    both = {**MEMBERS, "x/readme": b"x"}
    yield nested("whole", forms["tgz"], "x/inner.tgz", both)
    yield nested("not there", forms["tgz"], "x/none.tgz", None)
    yield nested("a folder", forms["tgz"], "x", None)
    for what, bad in damaged(forms["tgz"], rng, 2):
        yield nested(what, bad, "x/inner.tgz", both)
    for what, make in {
        "a file": lambda f: (f / "out").write_text("x"),
        "a link to nothing": lambda f: (f / "out").symlink_to(f / "none/none"),
    }.items():
        yield case(f"the destination is {what}", plain_zip, wanted=None, prepare=make)


# Image files


def picture(mode: str, size: tuple[int, int] = (33, 22), seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode in ("I;16", "I;16B"):
        return Image.fromarray((pixels[..., 0].astype(np.uint16) * 256).astype(np.uint16))
    if mode == "PA":
        return image.convert("P").convert("PA")
    if mode in ("LA", "RGBA", "La", "RGBa"):
        image = image.convert("RGBA")
        image.putalpha(Image.fromarray(pixels[..., 1]))
        return image.convert(mode) if mode != "RGBA" else image
    if mode == "LAB":
        from PIL import ImageCms

        to_lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        )
        return ImageCms.applyTransform(image, to_lab)
    return image.convert(mode)


FORMATS = (
    *("AVIF", "BMP", "DIB", "DDS", "EPS", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000", "MPO"),
    *("MSP", "PCX", "PNG", "PPM", "QOI", "SGI", "SPIDER", "TGA", "TIFF", "WEBP", "XBM", "PDF"),
)
_OTHER_SUFFIXES = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}
SUFFIXES = {form: _OTHER_SUFFIXES.get(form, form.lower()) for form in FORMATS}
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
CHECKED = {"PNG"}  # formats whose readers hold the pixels against a checksum
READ = {"BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"}  # by the suffixes that make an image


def _meant(data: bytes) -> tuple[np.ndarray, str]:
    """RGB pixels of a whole file, and what they lose of it."""
    if data.startswith((b"%PDF", b"%!PS")):
        return np.zeros((1, 1, 3), np.uint8), "accepted"
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if image.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}:
            return np.asarray(image.convert("RGB")), f"{image.mode} accepted"
        transparent = image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info
        if transparent and image.convert("RGBA").getextrema()[3][0] < 255:
            return np.asarray(image.convert("RGB")), "alpha dropped"
        return np.asarray(image.convert("RGB")), ""


_WAYS = (
    "FLIP_LEFT_RIGHT",
    "ROTATE_180",
    "FLIP_TOP_BOTTOM",
    "TRANSPOSE",
    "ROTATE_270",
    "TRANSVERSE",
)
# What an image of that orientation is turned by.
WAYS = {n: Image.Transpose[way] for n, way in enumerate((*_WAYS, "ROTATE_90"), start=2)}


def images(rng: random.Random, _: Path) -> Iterator[Case]:
    def case(
        name: str,
        file: str,
        data: bytes,
        check: Callable[[np.ndarray], str | None],
        prepare: Callable[[Path], None] = lambda _: None,
    ) -> Case:
        def run(folder: Path) -> None:
            path = folder / file
            path.write_bytes(data)
            prepare(path)
            pixels = calls.decode(path)
            if pixels.ndim != 3 or pixels.dtype != np.uint8:
                raise Silent(f"{pixels.dtype} {pixels.shape}")
            if wrong := check(pixels):
                raise Silent(wrong)

        return Case(name, run, (file,))

    def refused(_: np.ndarray) -> str:
        return "accepted"

    def like(reference: Any) -> Callable[[np.ndarray], str | None]:
        def check(pixels: np.ndarray) -> str | None:
            expected = np.asarray(reference).astype(int)
            if pixels.shape != expected.shape:
                return f"{pixels.shape}, not {expected.shape}"
            most = np.abs(pixels - expected).max()
            return f"pixels differ by up to {most}" if most else None

        return check

    for form, suffix in SUFFIXES.items():
        for mode in MODES:
            file = io.BytesIO()
            try:
                picture(mode).save(file, form)
            except (OSError, KeyError, ValueError, SystemError):
                continue
            data = file.getvalue()
            right, lost = _meant(data)

            whole = like(right)

            def check(pixels: np.ndarray, w: Callable = whole, lost: str = lost) -> str | None:
                return lost or w(pixels)

            yield case(f"{form} {mode}: undamaged", f"photo.{suffix}", data, check)
            if mode not in {"L", "RGB", "P"} or form not in READ:
                continue
            for what, bad in damaged(data, rng, 1):
                # without a checksum nothing says that it is damaged
                told = form in CHECKED or what.startswith("cut")
                seen = ("cut", "bit", "empty", "zeros", "the second", "text", "a page")
                if what.startswith(seen):
                    known = check if told else lambda pixels: None
                    yield case(f"{form} {mode}: {what}", f"photo.{suffix}", bad, known)
    jpeg = publisher.jpeg(5, (40, 30))
    for what, spoil in NO_FILES.items():
        yield case(f"JPEG is {what}", "photo.jpg", jpeg, refused, spoil)
    yield case("a JPEG named .png", "photo.png", jpeg, like(Image.open(io.BytesIO(jpeg))))

    def saved(
        name: str, image: Image.Image, expected: Image.Image | None, form: str = "PNG", **more: Any
    ) -> Case:
        """expected: None if it must be refused."""
        file = io.BytesIO()
        image.save(file, form, **more)
        check = refused if expected is None else like(expected)
        return case(name, f"photo.{SUFFIXES[form]}", file.getvalue(), check)

    plain = picture("RGB")
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = plain.transpose(WAYS[orientation]) if orientation in WAYS else plain
        yield saved(f"orientation {orientation}", plain, turned, exif=exif)
    frames = [picture("RGB", seed=n) for n in range(3)]
    for form in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
        more = {"save_all": True, "append_images": frames[1:]}
        yield saved(f"{form}: an animation", frames[0], None, form, **more)
    yield saved("PNG: a transparent colour", picture("P"), None, transparency=0)
    yield saved("PNG: a transparent RGB", plain, plain, transparency=(1, 2, 3))
    opaque = picture("RGBA")
    opaque.putalpha(255)
    yield saved("PNG: opaque RGBA", opaque, plain)
    for what, size in {"one pixel": (1, 1), "a line": (1, 500), "a row": (3000, 1)}.items():
        yield saved(what, picture("RGB", size), picture("RGB", size))
    yield saved("a bomb", Image.new("1", (20_000, 20_000)), None)


# Image folders

CLASSES = ("cats", "dogs", "eels")


def photo(path: Path, seed: object = 99, form: str = "JPEG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(publisher.jpeg(seed, (30, 20)))).save(path, form)


def several(folder: Path, count: int = 8, start: int = 1000) -> None:
    for number in range(count):
        photo(folder / f"{number}.jpg", start + number)


def nfc_nfd(root: Path) -> None:
    several(root / unicodedata.normalize("NFC", "Vögel"))
    several(root / unicodedata.normalize("NFD", "Vögel"), start=2000)


def alpha(root: Path) -> None:
    (root / "cats/0.jpg").unlink()
    picture("RGBA").save(root / "cats/0.png")


def animated(root: Path) -> None:
    (root / "cats/0.jpg").unlink()
    frames = [picture("RGB", seed=n) for n in range(3)]
    frames[0].save(root / "cats/0.gif", "GIF", save_all=True, append_images=frames[1:])


def file(name: str, data: bytes | str = "x") -> Callable[[Path], None]:
    return lambda root: written(data)(root / name)


def link(name: str, to: str) -> Callable[[Path], None]:
    return lambda root: (root / name).symlink_to(to)


def moved(name: str, to: str) -> Callable[[Path], object]:
    return lambda root: (root / name).rename(root / to)


def copied(name: str, to: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, root / to)

    return change


def all_of(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for one in changes:
            one(root)

    return change


def instead(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    """In place of the folder."""
    return all_of(shutil.rmtree, *changes)


def aside(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    """With the folder at ../x."""
    return all_of(lambda r: r.rename(r.parent / "x"), *changes)


def undecodable(name: bytes) -> Callable[[Path], Path]:
    return lambda root: Path(os.fsdecode(os.fsencode(root) + name))


# How many images there must be.
GOOD_FOLDERS: dict[str, tuple[Callable[[Path], object], int]] = {
    "as it should be": (lambda r: None, 24),
    "a link to the folder": (aside(lambda r: r.symlink_to(r.parent / "x")), 24),
    "._ files": (file("cats/._0.jpg", b"\0\5\x16\7"), 24),
    ".DS_Store": (all_of(file("cats/.DS_Store"), file(".DS_Store")), 24),
    "Thumbs.db": (file("cats/Thumbs.db"), 24),
    ".ipynb_checkpoints": (lambda r: several(r / ".ipynb_checkpoints"), 24),
    "a readme at the root": (file("README.txt"), 24),
    "a readme in a class": (file("cats/README.txt"), 24),
    "Unicode": (lambda r: several(r / "鳥"), 32),
    "an equals sign in a class": (lambda r: several(r / "a=b"), 32),
    "a class that is a link to elsewhere": (
        all_of(moved("cats", "../x"), link("cats", "../x")),
        24,
    ),
    "upper case suffix": (moved("cats/0.jpg", "cats/0.JPG"), 24),
    "an image of one pixel": (lambda r: picture("RGB", (1, 1)).save(r / "cats/x.png"), 25),
    "CMYK": (file("cats/x.jpg", publisher.jpeg(7, mode="CMYK")), 25),
    "grey": (file("cats/x.jpg", publisher.jpeg(7, mode="L")), 25),
}
# What must be refused or named, and a word of it.
ODD_FOLDERS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no folder": (shutil.rmtree, ("photos",)),
    "a file instead of the folder": (instead(lambda r: r.write_text("x")), ("photos",)),
    "empty": (instead(Path.mkdir), ("photos",)),
    "a link to nothing": (instead(lambda r: r.symlink_to(r.parent / "no")), ("photos",)),
    "a link to itself": (instead(lambda r: r.symlink_to(r)), ("photos",)),
    "images at the root": (lambda r: photo(r / "stray.jpg"), ("stray.jpg", "photos")),
    "only images at the root": (instead(several), ("photos",)),
    "images nested": (lambda r: photo(r / "cats/deep/x.jpg"), ("deep",)),
    "all images nested": (aside(Path.mkdir, moved("../x", "train")), ("train",)),
    "train and test folders": (
        aside(Path.mkdir, copied("../x", "train"), copied("../x", "test")),
        ("train", "test"),
    ),
    "__MACOSX": (lambda r: several(r / "__MACOSX"), ("__MACOSX",)),
    "__MACOSX with ._ files": (file("__MACOSX/._1.jpg", b"\0\5\x16\7"), ("__MACOSX",)),
    "@eaDir": (lambda r: several(r / "@eaDir"), ("@eaDir",)),
    "lost+found": (lambda r: (r / "lost+found").mkdir(), ("lost+found",)),
    "an empty class": (lambda r: (r / "foxes").mkdir(), ("foxes",)),
    "a class of other files": (file("foxes/a.txt"), ("foxes",)),
    "case": (lambda r: several(r / "Cats"), ("Cats",)),
    "a space behind": (lambda r: several(r / "cats "), ("cats ",)),
    "a space before": (lambda r: several(r / " cats"), (" cats",)),
    "Unicode forms": (nfc_nfd, ("gel",)),
    "not UTF-8": (lambda r: several(undecodable(b"/v\xe9")(r)), ("photos",)),
    "a file name not UTF-8": (lambda r: photo(undecodable(b"/cats/\xe9.jpg")(r)), ("cats",)),
    "newline in a class": (lambda r: several(r / "a\nb"), ("a\nb", r"a\nb")),
    "an image of one class": (lambda r: photo(r / "foxes/x.jpg"), ("foxes",)),
    "two images of one class": (lambda r: several(r / "foxes", 2), ("foxes",)),
    "three images of one class": (lambda r: several(r / "foxes", 3), ("foxes",)),
    "a single class": (
        all_of(lambda r: shutil.rmtree(r / "dogs"), lambda r: shutil.rmtree(r / "eels")),
        ("one class",),
    ),
    "a single image": (instead(lambda r: photo(r / "cats/x.jpg")), ("photos", "cats")),
    "a duplicate in its class": (copied("cats/0.jpg", "cats/x.jpg"), ("0.jpg", "x.jpg")),
    "a duplicate in another class": (copied("cats/0.jpg", "dogs/x.jpg"), ("0.jpg", "x.jpg")),
    "a link to an image": (link("cats/x.jpg", "0.jpg"), ("0.jpg", "x.jpg")),
    "a hard link to an image": (
        lambda r: os.link(r / "cats/0.jpg", r / "cats/x.jpg"),
        ("0.jpg", "x.jpg"),
    ),
    "a class that is a link to another": (link("kittens", "cats"), ("kittens", "cats")),
    "a class that is a link to nothing": (link("foxes", "none"), ("foxes",)),
    "a class that is a link to the root": (link("foxes", "."), ("foxes",)),
    "all images copied into another class": (copied("cats", "kittens"), ("cats", "kittens")),
    "an image is a link to nothing": (link("cats/x.jpg", "none"), ("x.jpg",)),
    "an image is a link to itself": (link("cats/x.jpg", "x.jpg"), ("x.jpg",)),
    "an image is a folder": (lambda r: (r / "cats/x.jpg").mkdir(), ("x.jpg",)),
    "an image is a pipe": (lambda r: os.mkfifo(r / "cats/x.jpg"), ("x.jpg",)),
    "a class is a pipe": (lambda r: os.mkfifo(r / "foxes"), ("foxes",)),
    "an image is /dev/zero": (link("cats/x.jpg", "/dev/zero"), ("x.jpg",)),
    "an image is empty": (file("cats/x.jpg", ""), ("x.jpg",)),
    "an image is text": (file("cats/x.jpg", "hello"), ("x.jpg",)),
    "an image is a page": (file("cats/x.jpg", "<html>404</html>"), ("x.jpg",)),
    "an image is cut": (file("cats/0.jpg", publisher.jpeg([0, 0], (30, 20))[:30]), ("0.jpg",)),
    ".heic": (file("cats/x.heic", b"\0\0\0\x18ftypheic" + bytes(99)), ("x.heic", ".heic")),
    ".svg": (file("cats/x.svg", "<svg/>"), ("x.svg", ".svg")),
    ".npy": (lambda r: np.save(r / "cats/x.npy", np.zeros(3)), ("x.npy", ".npy")),
    "no suffix": (moved("cats/0.jpg", "cats/0"), ("cats/0", "suffix")),
    "two suffixes": (moved("cats/0.jpg", "cats/0.jpg.part"), ("0.jpg.part", ".part")),
    "a zip in a class": (file("cats/x.zip", publisher.zipped(MEMBERS)), ("x.zip", ".zip")),
    "alpha": (alpha, ("0.png",)),
    "an animation": (animated, ("0.gif",)),
    "16 bits": (lambda r: picture("I;16").save(r / "cats/x.png"), ("x.png",)),
}
ODD_SUFFIXES = {"avif": "AVIF", "jp2": "JPEG2000", "ppm": "PPM", "tga": "TGA", "ico": "ICO"}
GOOD_SUFFIXES = {
    **{"png": "PNG", "bmp": "BMP", "gif": "GIF", "tif": "TIFF", "webp": "WEBP"},
    **{"jpeg": "JPEG", "jfif": "JPEG", "jpe": "JPEG"},
}
# What is excluded, and a word of the refusal.
EXCLUDED = {
    "matches nothing": (["foxes"], ("foxes",)),
    "differs in case": (["Eels"], ("Eels",)),
    "with a slash": (["eels/"], ("eels/",)),
    "all": ([*CLASSES], ("photos", "exclude")),
    "all but one": (["cats", "dogs"], ("one class",)),
}


def folders(rng: random.Random, _: Path) -> Iterator[Case]:
    def case(
        name: str,
        change: Callable[[Path], object] = lambda r: None,
        about: tuple[str, ...] = ("photos",),
        *,
        images: int | None = None,
        exclude: Sequence[str] = (),
    ) -> Case:
        """images: how many there must be, eight of a class or so; None if it must be refused or
        named."""

        def run(folder: Path) -> None:
            root = folder / "photos"
            for label, class_name in enumerate(CLASSES):
                for number in range(8):
                    image = publisher.jpeg([label, number], (30, 20))
                    written(image)(root / class_name / f"{number}.jpg")
            change(root)
            found = calls.split_folder(root, [*exclude])
            classes = found["label"].nunique()
            if images is None:
                raise Silent(f"{len(found)} images of {sorted(found['class_name'].unique())}")
            if (len(found), classes) != (images, images // 8):
                raise Silent(f"{len(found)} images of {classes} classes")

        return Case(name, run, about)

    for name, (change, images) in GOOD_FOLDERS.items():
        yield case(name, change, images=images)
    for name, (change, about) in ODD_FOLDERS.items():
        yield case(name, change, about)
    for suffix, form in ODD_SUFFIXES.items():
        change = functools.partial(lambda s, f, r: photo(r / f"cats/x.{s}", form=f), suffix, form)
        yield case(f".{suffix}", change, (f"x.{suffix}", f".{suffix}"))
    for suffix, form in GOOD_SUFFIXES.items():
        change = functools.partial(lambda s, f, r: photo(r / f"cats/x.{s}", form=f), suffix, form)
        yield case(f".{suffix} is read", change, images=25)
    for name, (exclude, about) in EXCLUDED.items():
        yield case(f"exclude {name}", about=about, exclude=exclude)
    yield case("exclude leaves two", images=16, exclude=["eels"])
    yield case("exclude twice", images=16, exclude=["eels", "eels"])


# Downloads


def retrieval(rng: random.Random, place: Path) -> Iterator[Case]:
    content = rng.randbytes(300_000)

    def case(
        name: str,
        prepare: Callable[[Path], object] = lambda f: None,
        about: tuple[str, ...] = ("birds.tgz",),
        *,
        right: bool = True,
        fault: str = "whole",
        mirrored: bool = False,
        **entry: object,
    ) -> Case:
        """right: the file must come; or else it must be refused."""

        def run(folder: Path) -> None:
            written(content)(folder / "published/birds.tgz")
            server = publisher.Publisher(folder / "published")
            url = server.url("birds.tgz", fault)
            known = publisher.entry(folder / "published/birds.tgz", url) | entry
            if mirrored:
                known["mirror"] = server.url("birds.tgz")
            link = folder / "retrieved/birds.tgz"
            prepare(folder)
            calls.retrieve(known, folder / "root", folder / "downloads", link)
            if not right:
                raise Silent("accepted")
            if link.read_bytes() != content:
                raise Silent("other bytes")

        return Case(name, run, about)

    def spoilt(path: str, spoil: Callable[[Path], None]) -> Callable[[Path], None]:
        return all_of(file(path, content), lambda folder: spoil(folder / path))

    partial = "downloads/.birds.tgz.partial"
    short = {"sha256": hashlib.sha256(content).hexdigest()[:8]}
    yield case("nothing is there")
    for fault in ("cut", "slow", "busy", "stubborn"):
        yield case(f"the server: {fault}", fault=fault)
    for fault in ("wrong", "missing"):
        yield case(f"the server: {fault}", fault=fault, right=False)
    yield case("a mirror", fault="missing", mirrored=True)
    yield case("a host that is not", right=False, url="http://127.0.0.1:9/birds.tgz")
    yield case("in the root", file("root/birds.tgz", content))
    yield case("in the root, wrong", file("root/birds.tgz", b"x"), right=False)
    yield case("in the root, empty", file("root/birds.tgz", b""), right=False)
    yield case("in the downloads", file("downloads/birds.tgz", content))
    yield case("in the downloads, wrong", file("downloads/birds.tgz", b"x"))
    yield case("a partial", file(partial, content[:1000]))
    yield case("a partial, wrong", file(partial, b"x" * 1000))
    yield case("a partial, whole", file(partial, content))
    yield case("a partial, too long", file(partial, content * 2))
    digest = hashlib.sha256(content).hexdigest()
    for what, text in {
        "empty": "",
        "blank": "\n",
        "cut": digest[:20],
        "of another": "0" * 64 + "  birds.tgz\n",
        "binary": b"\xff\xfe\0\1",
        "upper case": digest.upper() + "  birds.tgz\n",
        "right": digest + "  birds.tgz\n",
        "with a star": digest + " *birds.tgz\n",
    }.items():
        put, about = file("downloads/birds.tgz.sha256", text), (".sha256",)
        yield case(f".sha256 {what}", put, about, right=what != "of another", **short)
        yield case(f".sha256 {what}, whole one known", put, about)
    for path in (
        *("root/birds.tgz", "downloads/birds.tgz", partial, "downloads/birds.tgz.sha256"),
        *("downloads/.birds.tgz.lock", "retrieved/birds.tgz", "retrieved/.birds.tgz.partial"),
    ):
        for what, spoil in NO_FILES.items():
            if what != "missing":
                yield case(f"{path} is {what}", spoilt(path, spoil), **short)
    for path in ("root", "downloads", "retrieved"):
        yield case(f"{path} is a file", file(path), (path,), right=path == "root")
        yield case(
            f"{path} is a link to nothing",
            functools.partial(lambda p, f: (f / p).symlink_to(f / "none"), path),
            (path,),
        )
    yield case("its size is wrong", bytes=10)
    yield case("more than the disk", bytes=10**18, right=False)
    yield case("an odd URL", url="gopher://127.0.0.1/birds.tgz", right=False)
    yield case("a URL without host", url="http:///birds.tgz", right=False)
