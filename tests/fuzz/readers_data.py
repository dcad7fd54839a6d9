"""Data sets: CUB-200-2011's lists, archives, image folders, image files, downloads."""

import io
import os
import random
import shutil
import struct
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import publisher
from fuzz import calls
from fuzz.core import Case, Silent
from fuzz.damage import NO_FILES, damaged

LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")
REPLACED = object()


def write_all(files: dict[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# CUB-200-2011


def cub(rng: random.Random, _: Path) -> Iterator[Case]:
    files = publisher.cub_files(each=7)
    lists = {name: files[f"CUB_200_2011/{name}"] for name in LISTS}

    def case(name: str, spoil: Callable[[Path], None], *, refuse: bool = False) -> Case:
        def run(folder: Path) -> None:
            write_all(files, folder)
            before = calls.split_cub(folder / "CUB_200_2011/images")
            spoil(folder / "CUB_200_2011")
            after = calls.split_cub(folder / "CUB_200_2011/images")
            if refuse:
                raise Silent("accepted")
            before, after = (f.sort_values("path", ignore_index=True) for f in (before, after))
            if not before.equals(after[before.columns]):
                raise Silent(f"reads {len(after)} images otherwise")

        return Case(name, run, ("CUB_200_2011",))

    def written(name: str, data: bytes) -> Callable[[Path], None]:
        return lambda folder: (folder / name).write_bytes(data)

    for name, data in lists.items():
        for what, bad in damaged(data, rng, 4):
            yield case(f"{name}: {what}", written(name, bad))
        for what, spoil in NO_FILES.items():
            yield case(f"{name} is {what}", lambda f, n=name, s=spoil: s(f / n), refuse=True)
        text = data.decode()
        lines = text.splitlines()
        first, second, *_, last = lines
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
            "numbers from 0": "".join(f"{n} {x.split()[1]}\n" for n, x in enumerate(lines)),
            "values of two lines swapped": "\n".join(
                [f"1 {last.split()[1]}", *lines[1:-1], f"{len(lines)} {first.split()[1]}"]
            ),
            "a header": "id value\n" + text,
            "a third column": text.replace("\n", " x\n"),
            "one column": "".join(x.split()[1] + "\n" for x in lines),
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
            "a huge id": text.replace(first, f"{10**30} {first.split()[1]}"),
            "a fractional id": text.replace(first, f"1.5 {first.split()[1]}"),
            "an id of letters": text.replace(first, f"one {first.split()[1]}"),
            "a comment": "# the list\n" + text,
            "a merge conflict": text.replace(
                second, f"<<<<<<< HEAD\n{second}\n=======\n{second}\n>>>>>>> x"
            ),
            "split swapped": "".join(
                f"{n} {({'0': '1', '1': '0'}).get(value, value)}\n"
                for n, value in map(str.split, lines)
            ),
            "a path upwards": text.replace(first, f"1 ../{first.split()[1]}"),
            "an absolute path": text.replace(first, "1 /etc/passwd"),
            "another class's name": text.replace("001.", "002."),
        }
        for what, bad in texts.items():
            if bad != text:
                yield case(f"{name}: {what}", written(name, bad.encode()))
        yield case(f"{name}: Latin-1", written(name, text.replace("1", "\xe9").encode("latin-1")))
        yield case(f"{name}: UTF-16", written(name, text.encode("utf-16")))
        for other in LISTS:
            if other != name:
                yield case(f"{name} is {other}", written(name, lists[other]))
    labels = lists["image_class_labels.txt"].decode().splitlines()
    rotated = "".join(f"{x.split()[0]} {int(x.split()[1]) % 3 + 1}\n" for x in labels).encode()
    yield case("labels that contradict the folders", written("image_class_labels.txt", rotated))
    image = next(name for name in files if name.endswith(".jpg")).removeprefix("CUB_200_2011/")
    for what, spoil in NO_FILES.items():
        yield case(f"an image is {what}", lambda f, s=spoil: s(f / image), refuse=True)
    for what, bad in damaged(files[f"CUB_200_2011/{image}"], rng, 1):
        if what.startswith(("empty", "cut at 1 ", "zeros", "text", "backwards", "a page")):
            yield case(f"an image: {what}", written(image, bad), refuse=True)
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


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as content:
        for name, data in files.items():
            content.writestr(name, data)
    return archive.getvalue()


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
        for name, data in MEMBERS.items():
            info = member(name)
            info.size = len(data)
            content.addfile(info, io.BytesIO(data))
        for info, data in members:
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


def read_archives(rng: random.Random, _: Path) -> Iterator[Case]:
    def case(
        name: str,
        data: bytes | None,
        *,
        wanted: dict[str, bytes] | None = MEMBERS,
        inner: str | None = None,
        prepare: Callable[[Path], None] = lambda _: None,
        unchecked: bool = False,
        file: str = "birds.archive",
    ) -> Case:
        """wanted: what it must hold; None if it must be refused. unchecked: contents may differ."""

        def run(folder: Path) -> None:
            archive = folder / file
            archive.write_bytes(data or b"")
            prepare(folder)
            calls.unpack(archive, folder / "out", inner)
            found = contents(folder / "out")
            outside = {p.name for p in folder.iterdir()} - {file, "out", "case.log"}
            if outside - {"kept"}:
                raise Silent(f"wrote outside: {outside}")
            if wanted is None:
                raise Silent(f"accepted, {len(found)} files")
            if found.keys() != wanted.keys():
                raise Silent(f"{sorted(found.keys() ^ wanted.keys())} lost or more")
            if not unchecked and found != wanted:
                raise Silent(f"{[k for k in wanted if found[k] != wanted[k]]} changed")

        return Case(name, run, (file,))

    forms = {
        "tar": publisher.tar(MEMBERS, "w:"),
        "tgz": publisher.tar(MEMBERS, "w:gz"),
        "tbz": publisher.tar(MEMBERS, "w:bz2"),
        "txz": publisher.tar(MEMBERS, "w:xz"),
        "zip": zipped(MEMBERS),
        "stored zip": zipped(MEMBERS, zipfile.ZIP_STORED),
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

    zipped_data = forms["zip"]
    yield case("zip: encrypted", _patched_zip(zipped_data, 6, 8, 1), wanted=None)
    yield case("zip: unknown method", _patched_zip(zipped_data, 8, 10, 99), wanted=None)
    yield case("zip: method Deflate64", _patched_zip(zipped_data, 8, 10, 9), wanted=None)
    yield case("zip: newer version", _patched_zip(zipped_data, 4, 6, 99), wanted=None)
    yield case("zip: of bzip2", zipped(MEMBERS, zipfile.ZIP_BZIP2))
    yield case("zip: of LZMA", zipped(MEMBERS, zipfile.ZIP_LZMA))
    yield case("zip: something before", b"#!/bin/sh\n" + zipped_data)
    yield case("no members, zip", zipped({}), wanted=None)
    yield case("no members, tar", publisher.tar({}, "w:"), wanted=None)
    yield case("no members, tgz", publisher.tar({}, "w:gz"), wanted=None)
    names = {
        "absolute": "/tmp/deadpixel-fuzz-escaped",
        "upwards": "../escaped",
        "upwards within": "birds/../../escaped",
        "backslashes upwards": "..\\escaped",
        "long": "x" * 300,
        "deep": "/".join(["d"] * 500) + "/x",
        "longer than a path may be": "/".join(["d" * 200] * 30) + "/x",
        "empty": "",
        "a dot": ".",
        "two dots": "..",
        "newline": "birds/a\nb.jpg",
        "control characters": "birds/\x01\x1b[31m.jpg",
        "Unicode": "birds/Vögel 鳥.jpg",
        "not UTF-8": "birds/\udce9.jpg",
        "folder of a file's name": "birds/list.txt/x",
        "file of a folder's name": "birds/images",
        "same twice": "birds/list.txt",
        "other case": "birds/LIST.TXT",
        "leading dash": "-rf",
        "tilde": "~/x",
        "drive": "C:/x",
        "trailing slash": "birds/x/",
        "double slash": "birds//x",
        "a space behind": "birds/x ",
    }
    harmless = {
        "newline",
        "control characters",
        "Unicode",
        "leading dash",
        "tilde",
        "drive",
        "other case",
        "a space behind",
        "long",
        "deep",
        "not UTF-8",
    }
    for what, name in names.items():
        wanted = {**MEMBERS, name: b"x"} if what in harmless else None
        if what in {"double slash"}:
            wanted = {**MEMBERS, "birds/x": b"x"}
        if what == "same twice":
            wanted = {**MEMBERS, name: b"x"}  # the last counts
        for form in ("tar", "pax", "zip"):
            try:
                if form == "zip":
                    data = (
                        zipped({**MEMBERS, name: b"x"}) if name not in MEMBERS else zipped(MEMBERS)
                    )
                    if what == "same twice":
                        buffer = io.BytesIO(data)
                        with zipfile.ZipFile(buffer, "a") as content:
                            content.writestr(name, b"x")
                        data = buffer.getvalue()
                else:
                    kind = tarfile.GNU_FORMAT if form == "tar" else tarfile.PAX_FORMAT
                    data = tar_of((member(name), b"x"), form=kind)
            except (UnicodeError, ValueError, IndexError):
                continue
            if what == "trailing slash":
                wanted = MEMBERS if form == "zip" else {**MEMBERS, "birds/x": b"x"}
            if form != "zip" and what == "absolute":
                wanted = {**MEMBERS, name.lstrip("/"): b"x"}
            if form != "zip" and what == "backslashes upwards":
                wanted = {**MEMBERS, name: b"x"}  # a name like any other
            yield case(f"a member's name, {form}: {what}", data, wanted=wanted)
    kinds = {
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
    allowed = {
        "no permissions",
        "set uid",
        "an owner beyond",
        "a time before 1970",
        "a time in 2200",
        "an unknown type",
    }
    for what, (info, data) in kinds.items():
        wanted = {**MEMBERS, info.name: data} if what in allowed else None
        if what in ("a hard link",):
            wanted = {**MEMBERS, info.name: MEMBERS["birds/list.txt"]}
        if what == "a link":
            wanted = MEMBERS  # `contents` passes links over
        yield case(f"tar: {what}", tar_of((info, data)), wanted=wanted)
    through = tar_of((member("birds/h", tarfile.SYMTYPE, "/tmp"), b""), (member("birds/h/x"), b"x"))
    yield case("tar: a file through a link", through, wanted=None)
    bomb = zipped({"bomb": bytes(150 << 20)})
    yield case("zip: a bomb", bomb, wanted=None)
    yield case("not an archive: 7z", b"7z\xbc\xaf\x27\x1c" + rng.randbytes(999), wanted=None)
    yield case("not an archive: rar", b"Rar!\x1a\x07\x01\0" + rng.randbytes(999), wanted=None)
    import gzip

    yield case("not an archive: gzip of text", gzip.compress(b"text" * 999), wanted=None)
    yield case("gzip: two members", gzip.compress(tar[:5120]) + gzip.compress(tar[5120:]))
    outer = zipped({"x/inner.tgz": forms["tgz"], "x/readme": b"x"})
    both = {**MEMBERS, "x/readme": b"x"}
    yield case("inner: whole", outer, wanted=both, inner="x/inner.tgz")
    yield case("inner: not there", outer, wanted=None, inner="x/none.tgz")
    yield case("inner: a folder", outer, wanted=None, inner="x")
    for what, bad in damaged(forms["tgz"], rng, 2):
        data = zipped({"x/inner.tgz": bad, "x/readme": b"x"})
        yield case(f"inner: {what}", data, wanted=both, inner="x/inner.tgz")
    yield case(
        "the destination is a file",
        zipped_data,
        wanted=None,
        prepare=lambda f: (f / "out").write_text("x"),
    )
    yield case(
        "the destination is a link to nothing",
        zipped_data,
        wanted=None,
        prepare=lambda f: (f / "out").symlink_to(f / "none/none"),
    )


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


SUFFIXES = {
    "AVIF": "avif",
    "BMP": "bmp",
    "DIB": "dib",
    "DDS": "dds",
    "EPS": "eps",
    "GIF": "gif",
    "ICNS": "icns",
    "ICO": "ico",
    "IM": "im",
    "JPEG": "jpg",
    "JPEG2000": "jp2",
    "MPO": "mpo",
    "MSP": "msp",
    "PCX": "pcx",
    "PNG": "png",
    "PPM": "ppm",
    "QOI": "qoi",
    "SGI": "sgi",
    "SPIDER": "spider",
    "TGA": "tga",
    "TIFF": "tif",
    "WEBP": "webp",
    "XBM": "xbm",
    "PDF": "pdf",
}
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
            size, pixels = calls.decode(path)
            if pixels.shape != (size[1], size[0], 3) or pixels.dtype != np.uint8:
                raise Silent(f"{pixels.dtype} {pixels.shape} of {size}")
            if wrong := check(pixels):
                raise Silent(wrong)

        return Case(name, run, (file,))

    def refused(_: np.ndarray) -> str:
        return "accepted"

    def like(reference: np.ndarray, lossy: bool) -> Callable[[np.ndarray], str | None]:
        def check(pixels: np.ndarray) -> str | None:
            if pixels.shape != reference.shape:
                return f"{pixels.shape}, not {reference.shape}"
            difference = np.abs(pixels.astype(int) - reference)
            wrong = difference.mean() > 40 if lossy else difference.any()
            return f"pixels differ by up to {difference.max()}" if wrong else None

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
            whole = like(right, False)

            def check(pixels: np.ndarray, w: Callable = whole, lost: str = lost) -> str | None:
                return lost or w(pixels)

            yield case(f"{form} {mode}: undamaged", f"photo.{suffix}", data, check)
            if mode not in {"L", "RGB", "P"} or form not in READ:
                continue
            for what, bad in damaged(data, rng, 1):
                if form in CHECKED or what.startswith("cut"):
                    same = check
                else:  # no checksum says that it is damaged

                    def same(pixels: np.ndarray) -> None:
                        return None

                if what.startswith(
                    ("cut", "bit", "empty", "zeros", "the second", "text", "a page")
                ):
                    yield case(f"{form} {mode}: {what}", f"photo.{suffix}", bad, same)
    jpeg = publisher.jpeg(5, (40, 30))
    reference = np.asarray(Image.open(io.BytesIO(jpeg)))
    for what, spoil in NO_FILES.items():
        yield case(f"JPEG is {what}", "photo.jpg", jpeg, refused, spoil)
    yield case("a JPEG named .png", "photo.png", jpeg, like(reference, False))
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = io.BytesIO()
        picture("RGB").save(file, "PNG", exif=exif)
        turned = picture("RGB")
        ways = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_270,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90,
        }
        if orientation in ways:
            turned = turned.transpose(ways[orientation])
        yield case(
            f"orientation {orientation}",
            "photo.png",
            file.getvalue(),
            like(np.asarray(turned), False),
        )
    frames = [picture("RGB", seed=n) for n in range(3)]
    for form in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
        file = io.BytesIO()
        frames[0].save(file, form, save_all=True, append_images=frames[1:])
        yield case(f"{form}: an animation", f"photo.{SUFFIXES[form]}", file.getvalue(), refused)
    file = io.BytesIO()
    transparent = picture("P")
    transparent.save(file, "PNG", transparency=0)
    yield case("PNG: a transparent colour", "photo.png", file.getvalue(), refused)
    file = io.BytesIO()
    picture("RGB").save(file, "PNG", transparency=(1, 2, 3))
    yield case(
        "PNG: a transparent RGB",
        "photo.png",
        file.getvalue(),
        like(np.asarray(picture("RGB")), False),
    )
    file = io.BytesIO()
    opaque = picture("RGBA")
    opaque.putalpha(255)
    opaque.save(file, "PNG")
    yield case(
        "PNG: opaque RGBA", "photo.png", file.getvalue(), like(np.asarray(picture("RGB")), False)
    )
    for what, size in {"one pixel": (1, 1), "a line": (1, 500), "a row": (3000, 1)}.items():
        file = io.BytesIO()
        picture("RGB", size).save(file, "PNG")
        yield case(
            what, "photo.png", file.getvalue(), like(np.asarray(picture("RGB", size)), False)
        )
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    yield case("a bomb", "photo.png", file.getvalue(), refused)


# Image folders

CLASSES = {"cats": 8, "dogs": 8, "eels": 8}


def folders(rng: random.Random, _: Path) -> Iterator[Case]:
    def case(
        name: str,
        change: Callable[[Path], None],
        about: tuple[str, ...] = ("photos",),
        *,
        images: int | None = None,
        classes: int = 3,
        exclude: list[str] | None = None,
    ) -> Case:
        """images: how many there must be; None if it must be refused or named."""

        def run(folder: Path) -> None:
            root = folder / "photos"
            for label, (folder_name, each) in enumerate(CLASSES.items()):
                (root / folder_name).mkdir(parents=True)
                for number in range(each):
                    (root / folder_name / f"{number}.jpg").write_bytes(
                        publisher.jpeg([label, number], (30, 20))
                    )
            change(root)
            found = calls.split_folder(root, exclude or [])
            if images is None:
                raise Silent(f"{len(found)} images of {sorted(found['class_name'].unique())}")
            if (len(found), found["label"].nunique()) != (images, classes):
                raise Silent(f"{len(found)} images of {found['label'].nunique()} classes")

        return Case(name, run, about)

    def photo(path: Path, seed: object = 99, form: str = "JPEG", **more: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(io.BytesIO(publisher.jpeg(seed, (30, 20))))
        image.save(path, form, **more)

    def several(folder: Path, count: int = 8, start: int = 1000) -> None:
        for number in range(count):
            photo(folder / f"{number}.jpg", start + number)

    def nfc_nfd(root: Path) -> None:
        several(root / unicodedata.normalize("NFC", "Vögel"))
        several(root / unicodedata.normalize("NFD", "Vögel"), start=2000)

    def alpha(path: Path) -> None:
        path.unlink()
        picture("RGBA").save(path.with_suffix(".png"))

    def animated(path: Path) -> None:
        path.unlink()
        frames = [picture("RGB", seed=n) for n in range(3)]
        frames[0].save(path.with_suffix(".gif"), "GIF", save_all=True, append_images=frames[1:])

    copy = shutil.copy
    yield case("as it should be", lambda r: None, images=24)
    yield case("no folder", shutil.rmtree)
    yield case("a file instead of the folder", lambda r: (shutil.rmtree(r), r.write_text("x")))
    yield case("empty", lambda r: (shutil.rmtree(r), r.mkdir()))
    yield case("a link to nothing", lambda r: (shutil.rmtree(r), r.symlink_to(r.parent / "no")))
    yield case("a link to itself", lambda r: (shutil.rmtree(r), r.symlink_to(r)))
    yield case(
        "a link to the folder",
        lambda r: (r.rename(r.parent / "x"), r.symlink_to(r.parent / "x")),
        images=24,
    )
    yield case("images at the root", lambda r: photo(r / "stray.jpg"), ("stray.jpg", "photos"))
    yield case("only images at the root", lambda r: (shutil.rmtree(r), several(r)))
    yield case("images nested", lambda r: photo(r / "cats/deep/x.jpg"), ("deep",))
    yield case(
        "all images nested",
        lambda r: (r.rename(r.parent / "x"), r.mkdir(), (r.parent / "x").rename(r / "train")),
        ("train",),
    )
    yield case(
        "train and test folders",
        lambda r: (
            r.rename(r.parent / "x"),
            shutil.copytree(r.parent / "x", r / "train"),
            shutil.copytree(r.parent / "x", r / "test"),
        ),
        ("train", "test"),
    )
    yield case("__MACOSX", lambda r: several(r / "__MACOSX"), ("__MACOSX",))
    yield case(
        "__MACOSX with ._ files",
        lambda r: ((r / "__MACOSX").mkdir(), (r / "__MACOSX/._1.jpg").write_bytes(b"\0\5\x16\7")),
        ("__MACOSX",),
    )
    yield case("._ files", lambda r: (r / "cats/._0.jpg").write_bytes(b"\0\5\x16\7"), images=24)
    yield case(
        ".DS_Store",
        lambda r: ((r / "cats/.DS_Store").write_bytes(b"x"), (r / ".DS_Store").write_bytes(b"x")),
        images=24,
    )
    yield case("Thumbs.db", lambda r: (r / "cats/Thumbs.db").write_bytes(b"x"), images=24)
    yield case("@eaDir", lambda r: several(r / "@eaDir"), ("@eaDir",))
    yield case(".ipynb_checkpoints", lambda r: several(r / ".ipynb_checkpoints"), images=24)
    yield case("lost+found", lambda r: (r / "lost+found").mkdir(), ("lost+found",))
    yield case("an empty class", lambda r: (r / "foxes").mkdir(), ("foxes",))
    yield case(
        "a class of other files",
        lambda r: ((r / "foxes").mkdir(), (r / "foxes/a.txt").write_text("x")),
        ("foxes",),
    )
    yield case("a readme at the root", lambda r: (r / "README.txt").write_text("x"), images=24)
    yield case("a readme in a class", lambda r: (r / "cats/README.txt").write_text("x"), images=24)
    yield case("case", lambda r: several(r / "Cats"), ("Cats",))
    yield case("a space behind", lambda r: several(r / "cats "), ("cats ",))
    yield case("a space before", lambda r: several(r / " cats"), (" cats",))
    yield case("Unicode forms", nfc_nfd, ("gel",))
    yield case("Unicode", lambda r: several(r / "鳥"), images=32, classes=4)
    yield case(
        "not UTF-8", lambda r: several(Path(os.fsdecode(os.fsencode(r) + b"/v\xe9"))), ("photos",)
    )
    yield case(
        "a file name not UTF-8",
        lambda r: photo(Path(os.fsdecode(os.fsencode(r) + b"/cats/\xe9.jpg"))),
        ("cats",),
    )
    yield case("newline in a class", lambda r: several(r / "a\nb"), ("a\nb", r"a\nb"))
    yield case("an equals sign in a class", lambda r: several(r / "a=b"), images=32, classes=4)
    yield case("an image of one class", lambda r: photo(r / "foxes/x.jpg"), ("foxes",))
    yield case("two images of one class", lambda r: several(r / "foxes", 2), ("foxes",))
    yield case("three images of one class", lambda r: several(r / "foxes", 3), ("foxes",))
    yield case(
        "a single class",
        lambda r: (shutil.rmtree(r / "dogs"), shutil.rmtree(r / "eels")),
        ("one class",),
    )
    yield case(
        "a single image", lambda r: (shutil.rmtree(r), photo(r / "cats/x.jpg")), ("photos", "cats")
    )
    yield case(
        "a duplicate in its class",
        lambda r: copy(r / "cats/0.jpg", r / "cats/x.jpg"),
        ("0.jpg", "x.jpg"),
    )
    yield case(
        "a duplicate in another class",
        lambda r: copy(r / "cats/0.jpg", r / "dogs/x.jpg"),
        ("0.jpg", "x.jpg"),
    )
    yield case(
        "a link to an image", lambda r: (r / "cats/x.jpg").symlink_to("0.jpg"), ("0.jpg", "x.jpg")
    )
    yield case(
        "a hard link to an image",
        lambda r: os.link(r / "cats/0.jpg", r / "cats/x.jpg"),
        ("0.jpg", "x.jpg"),
    )
    yield case(
        "a class that is a link to another",
        lambda r: (r / "kittens").symlink_to("cats"),
        ("kittens", "cats"),
    )
    yield case(
        "a class that is a link to elsewhere",
        lambda r: ((r / "cats").rename(r.parent / "x"), (r / "cats").symlink_to(r.parent / "x")),
        images=24,
    )
    yield case(
        "a class that is a link to nothing", lambda r: (r / "foxes").symlink_to("none"), ("foxes",)
    )
    yield case(
        "a class that is a link to the root", lambda r: (r / "foxes").symlink_to("."), ("foxes",)
    )
    yield case(
        "all images copied into another class",
        lambda r: shutil.copytree(r / "cats", r / "kittens"),
        ("cats", "kittens"),
    )
    yield case(
        "an image is a link to nothing", lambda r: (r / "cats/x.jpg").symlink_to("none"), ("x.jpg",)
    )
    yield case(
        "an image is a link to itself", lambda r: (r / "cats/x.jpg").symlink_to("x.jpg"), ("x.jpg",)
    )
    yield case("an image is a folder", lambda r: (r / "cats/x.jpg").mkdir(), ("x.jpg",))
    yield case("an image is a pipe", lambda r: os.mkfifo(r / "cats/x.jpg"), ("x.jpg",))
    yield case("a class is a pipe", lambda r: os.mkfifo(r / "foxes"), ("foxes",))
    yield case(
        "an image is /dev/zero", lambda r: (r / "cats/x.jpg").symlink_to("/dev/zero"), ("x.jpg",)
    )
    yield case("an image is empty", lambda r: (r / "cats/x.jpg").write_bytes(b""), ("x.jpg",))
    yield case("an image is text", lambda r: (r / "cats/x.jpg").write_text("hello"), ("x.jpg",))
    yield case(
        "an image is a page",
        lambda r: (r / "cats/x.jpg").write_text("<html>404</html>"),
        ("x.jpg",),
    )
    yield case(
        "an image is cut",
        lambda r: (r / "cats/0.jpg").write_bytes((r / "cats/0.jpg").read_bytes()[:30]),
        ("0.jpg",),
    )
    yield case(
        "upper case suffix", lambda r: (r / "cats/0.jpg").rename(r / "cats/0.JPG"), images=24
    )
    for suffix, form in {
        "avif": "AVIF",
        "jp2": "JPEG2000",
        "ppm": "PPM",
        "tga": "TGA",
        "ico": "ICO",
    }.items():
        yield case(
            f".{suffix}",
            lambda r, s=suffix, f=form: photo(r / f"cats/x.{s}", form=f),
            (f"x.{suffix}", f".{suffix}"),
        )
    yield case(
        ".heic",
        lambda r: (r / "cats/x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)),
        ("x.heic", ".heic"),
    )
    yield case(".svg", lambda r: (r / "cats/x.svg").write_text("<svg/>"), ("x.svg", ".svg"))
    yield case(".npy", lambda r: np.save(r / "cats/x.npy", np.zeros(3)), ("x.npy", ".npy"))
    yield case("no suffix", lambda r: (r / "cats/0.jpg").rename(r / "cats/0"), ("cats/0", "suffix"))
    yield case(
        "two suffixes",
        lambda r: (r / "cats/0.jpg").rename(r / "cats/0.jpg.part"),
        ("0.jpg.part", ".part"),
    )
    yield case(
        "a zip in a class",
        lambda r: (r / "cats/x.zip").write_bytes(zipped(MEMBERS)),
        ("x.zip", ".zip"),
    )
    for suffix, form in {
        "png": "PNG",
        "bmp": "BMP",
        "gif": "GIF",
        "tif": "TIFF",
        "webp": "WEBP",
        "jpeg": "JPEG",
        "jfif": "JPEG",
        "jpe": "JPEG",
    }.items():
        yield case(
            f".{suffix} is read",
            lambda r, s=suffix, f=form: photo(r / f"cats/x.{s}", form=f),
            images=25,
        )
    yield case("exclude leaves two", lambda r: None, images=16, classes=2, exclude=["eels"])
    yield case("exclude matches nothing", lambda r: None, ("foxes",), exclude=["foxes"])
    yield case("exclude differs in case", lambda r: None, ("Eels",), exclude=["Eels"])
    yield case("exclude with a slash", lambda r: None, ("eels/",), exclude=["eels/"])
    yield case("exclude all", lambda r: None, ("photos", "exclude"), exclude=list(CLASSES))
    yield case("exclude all but one", lambda r: None, ("one class",), exclude=["cats", "dogs"])
    yield case("exclude twice", lambda r: None, images=16, classes=2, exclude=["eels", "eels"])
    yield case("alpha", lambda r: alpha(r / "cats/0.jpg"), ("0.png",))
    yield case("an animation", lambda r: animated(r / "cats/0.jpg"), ("0.gif",))
    yield case(
        "an image of one pixel", lambda r: picture("RGB", (1, 1)).save(r / "cats/x.png"), images=25
    )
    yield case(
        "CMYK", lambda r: (r / "cats/x.jpg").write_bytes(publisher.jpeg(7, mode="CMYK")), images=25
    )
    yield case(
        "grey", lambda r: (r / "cats/x.jpg").write_bytes(publisher.jpeg(7, mode="L")), images=25
    )
    yield case("16 bits", lambda r: picture("I;16").save(r / "cats/x.png"), ("x.png",))


# Downloads


def retrieval(rng: random.Random, place: Path) -> Iterator[Case]:
    content = rng.randbytes(300_000)

    def case(
        name: str,
        prepare: Callable[[Path], None],
        about: tuple[str, ...] = ("birds.tgz",),
        *,
        right: bool = True,
        fault: str = "whole",
        wrong: bool = False,
        **entry: object,
    ) -> Case:
        """right: the file must come; or else it must be refused."""

        def run(folder: Path) -> None:
            published = folder / "published"
            published.mkdir()
            (published / "birds.tgz").write_bytes(content)
            server = publisher.Publisher(published)
            known = publisher.entry(published / "birds.tgz", server.url("birds.tgz", fault))
            known = {
                key: value for key, value in {**known, **entry}.items() if value is not REPLACED
            }
            if callable(known.get("mirror")):
                known["mirror"] = known["mirror"](server)
            root, downloads = folder / "root", folder / "downloads"
            link = folder / "retrieved/birds.tgz"
            prepare(folder)
            calls.retrieve(known, root, downloads, link)
            if not right:
                raise Silent("accepted")
            if link.read_bytes() != content:
                raise Silent("other bytes")
            if wrong:
                raise Silent("accepted")

        return Case(name, run, about)

    def put(path: str, data: bytes | None = None) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if data is None else data)

        return prepare

    def spoilt(path: str, spoil: Callable[[Path], None]) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            put(path)(folder)
            spoil(folder / path)

        return prepare

    short = {"sha256": REPLACED, "md5": __import__("hashlib").md5(content).hexdigest()}
    yield case("nothing is there", lambda f: None)
    for fault in ("cut", "slow", "busy", "stubborn"):
        yield case(f"the server: {fault}", lambda f: None, fault=fault)
    for fault in ("wrong", "missing"):
        yield case(f"the server: {fault}", lambda f: None, fault=fault, right=False)
    yield case("a mirror", lambda f: None, fault="missing", mirror=lambda s: s.url("birds.tgz"))
    yield case(
        "a host that is not", lambda f: None, right=False, url="http://127.0.0.1:9/birds.tgz"
    )
    yield case("in the root", put("root/birds.tgz"))
    yield case("in the root, wrong", put("root/birds.tgz", b"x"), right=False)
    yield case("in the root, empty", put("root/birds.tgz", b""), right=False)
    yield case("in the downloads", put("downloads/birds.tgz"))
    yield case("in the downloads, wrong", put("downloads/birds.tgz", b"x"))
    yield case("a partial", put("downloads/.birds.tgz.partial", content[:1000]))
    yield case("a partial, wrong", put("downloads/.birds.tgz.partial", b"x" * 1000))
    yield case("a partial, whole", put("downloads/.birds.tgz.partial"))
    yield case("a partial, too long", put("downloads/.birds.tgz.partial", content * 2))
    digest = publisher.hashlib.sha256(content).hexdigest()
    for what, text in {
        "empty": b"",
        "blank": b"\n",
        "cut": digest[:20].encode(),
        "of another": b"0" * 64 + b"  birds.tgz\n",
        "binary": b"\xff\xfe\0\1",
        "upper case": digest.upper().encode() + b"  birds.tgz\n",
        "right": digest.encode() + b"  birds.tgz\n",
        "with a star": digest.encode() + b" *birds.tgz\n",
    }.items():
        right = what not in {"of another"}
        yield case(
            f".sha256 {what}",
            put("downloads/birds.tgz.sha256", text),
            (".sha256",),
            right=right,
            **short,
        )
        yield case(
            f".sha256 {what}, whole one known",
            put("downloads/birds.tgz.sha256", text),
            (".sha256",),
        )
    places = {
        "root/birds.tgz": "missing",
        "downloads/birds.tgz": "missing",
        "downloads/.birds.tgz.partial": "missing",
        "downloads/birds.tgz.sha256": "missing",
        "downloads/.birds.tgz.lock": "missing",
        "retrieved/birds.tgz": "missing",
        "retrieved/.birds.tgz.partial": "missing",
    }
    for path in places:
        for what, spoil in NO_FILES.items():
            if what != "missing":
                yield case(f"{path} is {what}", spoilt(path, spoil), ("birds.tgz",), **short)
    for path in ("root", "downloads", "retrieved"):
        yield case(f"{path} is a file", put(path, b"x"), (path,), right=path == "root")
        yield case(
            f"{path} is a link to nothing",
            lambda f, p=path: (f / p).symlink_to(f / "none"),
            (path,),
        )
    yield case("its size is wrong", lambda f: None, bytes=10)
    yield case("more than the disk", lambda f: None, bytes=10**18, right=False)
    yield case("an odd URL", lambda f: None, url="gopher://127.0.0.1/birds.tgz", right=False)
    yield case("a URL without host", lambda f: None, url="http:///birds.tgz", right=False)
