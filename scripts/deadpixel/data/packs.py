"""Decoded images: each file is decoded once into a pack that any number of jobs map into memory."""

import collections
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError
from ..files import atomic, parquet
from ..logs import log, progress

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # no others, some of which run programs
ARRAYS = ".npy"  # of any number of bands
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_PACK = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("crc32", pa.uint32()),
        pa.field("pixels", pa.large_binary()),
    ]
)


def checksum(file: Path) -> str:
    """SHA-256 of an image file, 64 hexadecimal digits."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise _refusal(file, "read", error) from error


def decode(file: Path) -> tuple[np.ndarray, list[str]]:
    """Upright RGB pixels of an image, uint8 (height, width, 3), and what of it they leave out.

    An array in a .npy file, (height, width, bands) or (height, width), keeps its bands. Raises
    `InputError` naming the file if it is damaged or of a mode or type that 8 bits cannot hold.
    """
    if file.suffix.lower() == ARRAYS:
        return _array(file), []
    try:
        with Image.open(file, formats=_FORMATS) as image:
            mode = image.mode
            if mode in _MODES:
                lost = _lost(image)
                upright = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # Pillow raises almost anything of a damaged file
        raise _refusal(file, "decoded", error) from error
    if mode not in _MODES:
        raise InputError(f"image {file} has mode {mode}: convert it to 8-bit RGB, or remove it")
    return np.asarray(upright), lost


def _array(file: Path) -> np.ndarray:
    try:
        pixels = np.load(file, allow_pickle=False)
    except Exception as error:  # NumPy raises almost anything of a damaged file
        raise _refusal(file, "read", error) from error
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
        raise InputError(
            f"image {file} is {pixels.dtype} {pixels.shape}: make it uint8 (height, width, bands), "
            "or remove it"
        )
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))


def _lost(image: Image.Image) -> list[str]:
    lost = []
    if getattr(image, "is_animated", False):
        lost.append("only the first frame is used")
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            lost.append("transparency is dropped, the colours under it show")
    return lost


def _refusal(file: Path, verb: str, error: Exception) -> InputError:
    if isinstance(error, UnidentifiedImageError):
        reason = f"it is no {', '.join(_FORMATS)}"
    else:
        reason = str(error).partition("\n")[0] or type(error).__name__
    return InputError(f"image {file} cannot be {verb} ({reason}): replace or remove it")


def pack(manifest: pd.DataFrame, root: Path, output: Path, facts: dict[str, Any]) -> None:
    """Decode the images of a manifest, below `root`, into an Arrow file: one row per image.

    manifest: columns path, relative to `root`, and sha256, of the file. Pixels lie in the pack
    uncompressed and of each image's own size, so that a reader maps them into memory without a
    copy. Needs the memory of one image, however many there are. Raises `InputError` naming the
    file if it is not the one that the manifest lists, or as `decode` does.
    """
    facts = {**facts, "manifest": _digest(manifest)}
    schema = _PACK.with_metadata({parquet.METADATA_KEY: json.dumps(facts).encode()})
    examples: dict[str, list[str]] = collections.defaultdict(list)
    rows = zip(manifest["path"], manifest["sha256"], strict=True)
    with (
        atomic.writing(output) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for index, (path, sha256) in enumerate(
            progress(rows, total=len(manifest), what="images decoded")
        ):
            if checksum(root / path) != sha256:
                raise InputError(
                    f"image {root / path} has changed since the data set was listed: "
                    "delete the manifest.parquet of the data set and run again"
                )
            pixels, lost = decode(root / path)
            for loss in lost:
                examples[loss].append(path)
            height, width, _ = pixels.shape
            content = pixels.tobytes()
            crc32 = _crc32(index, path, height, width, content)
            row = [[path], [height], [width], [crc32], [content]]
            arrays = [pa.array(value, field.type) for value, field in zip(row, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    for loss, paths in examples.items():
        log.warning("%d images: %s; the first is %s", len(paths), loss, root / paths[0])


def _digest(manifest: pd.DataFrame) -> str:
    """SHA-256 over the images that a manifest lists, in order, as `sha256sum` would print them."""
    lines = (manifest["sha256"] + "  " + manifest["path"] + "\n").str.cat()
    return hashlib.sha256(lines.encode()).hexdigest()


def _crc32(index: int, path: str, height: int, width: int, pixels: bytes | pa.Buffer) -> int:
    return zlib.crc32(pixels, zlib.crc32(f"{index} {path} {height} {width}".encode()))


class Pack:
    """The images of a pack, each a read-only uint8 array (height, width, bands) of the mapped file.

    Each image is compared with its checksum when it is first read, so that a job reads no more of
    a large pack than it needs; a damaged one is an `InputError`.
    """

    def __init__(self, file: Path | str, manifest: pd.DataFrame | None = None) -> None:
        """Map `file`. Raises `InputError` if it is no pack, or not of the images of `manifest`."""
        self._file, self._sound = file, set()
        if not Path(file).is_file():
            raise InputError(f"{file}: there is no such pack of images: run again")
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(file)))
            schema, count = self._reader.schema, self._reader.num_record_batches
            facts = dict(json.loads((schema.metadata or {}).get(parquet.METADATA_KEY, b"{}")))
            names, is_pack = schema.names, schema.equals(_PACK)
        except Exception as error:  # Arrow raises almost anything of a damaged file
            raise self._damaged(str(error)) from error
        if not is_pack:
            raise self._damaged(f"its columns are {names}")
        if manifest is not None and (count, facts.get("manifest")) != (
            len(manifest),
            _digest(manifest),
        ):
            raise InputError(
                f"{file}: its images are not those of the data set's manifest: "
                "delete it and run again"
            )

    def __len__(self) -> int:
        """Number of images."""
        return self._reader.num_record_batches

    def __getitem__(self, index: int) -> np.ndarray:
        """Pixels of one image; raises `IndexError` beyond the last."""
        return self._row(index)[1]

    def path(self, index: int) -> str:
        """File that one image was decoded from, relative to the data set's folder."""
        return self._row(index)[0]

    def _row(self, index: int) -> tuple[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            batch = self._reader.get_batch(index)
            if index not in self._sound:
                batch.validate(full=True)  # or an offset outside the file would end the process
            path, height, width, crc32 = (batch[name][0].as_py() for name in _PACK.names[:4])
            *_, content = batch["pixels"].buffers()  # of its one row; a scalar would be a copy
            pixels = np.frombuffer(content, np.uint8).reshape(height, width, -1)
        except Exception as error:  # Arrow raises almost anything of a damaged file
            raise self._damaged(str(error)) from error
        if index not in self._sound and _crc32(index, path, height, width, content) != crc32:
            raise self._damaged(f"image {index} has another checksum")
        self._sound.add(index)
        return path, pixels

    def _damaged(self, reason: str) -> InputError:
        reason = reason.partition("\n")[0]
        return InputError(
            f"{self._file}: cannot be read as a pack of images ({reason}): delete it and run again"
        )
