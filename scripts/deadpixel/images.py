"""Decoded images: each file is decoded once into a pack that any number of jobs map into memory."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps

from . import store
from .errors import InputError
from .logs import progress

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_TRANSPOSED = {5, 6, 7, 8}  # EXIF orientations that swap width and height; Pillow turns TIFF itself
_ORIENTATION = 0x0112
_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # as Pillow reports it
_PACK = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("pixels", pa.large_binary()),
    ]
)


def upright_size(file: Path) -> tuple[int, int]:
    """Width and height of an image in pixels once turned upright, from its header alone."""
    try:
        with Image.open(file) as image:
            width, height = image.size
            turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _TRANSPOSED
    except _DAMAGE as error:
        raise InputError(f"image {file} cannot be read: {error}") from error
    return (height, width) if turned else (width, height)


def decode(file: Path) -> np.ndarray:
    """Upright RGB pixels of an image file, uint8 (height, width, 3).

    Raises `InputError` naming the file if it is damaged or of a mode that 8-bit RGB cannot hold.
    """
    try:
        with Image.open(file) as image:
            mode = image.mode
            upright = ImageOps.exif_transpose(image).convert("RGB") if mode in _MODES else None
    except _DAMAGE as error:
        raise InputError(f"image {file} cannot be decoded: {error}") from error
    if upright is None:
        raise InputError(f"image {file} has mode {mode}: convert it to 8-bit RGB")
    return np.asarray(upright)


def pack(paths: Iterable[str], root: Path, output: Path, facts: dict[str, Any]) -> None:
    """Decode the images at `paths`, relative to `root`, into an Arrow file: one row per image.

    Pixels lie there uncompressed and of each image's own size, so that a reader maps them into
    memory without a copy. Needs the memory of one image, however many there are.
    """
    paths = list(paths)
    schema = _PACK.with_metadata({store.METADATA_KEY: json.dumps(facts).encode()})
    with (
        store.atomic(output) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for path in progress(paths, total=len(paths), what="images decoded"):
            pixels = decode(root / path)
            height, width, _ = pixels.shape
            row = [[path], [height], [width], [pixels.tobytes()]]
            arrays = [pa.array(value, field.type) for value, field in zip(row, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


class Pack:
    """The images of a pack, each a read-only uint8 array (height, width, 3) of the mapped file."""

    def __init__(self, file: Path | str) -> None:
        """Map `file`. Raises `InputError` if it is no pack."""
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(file)))
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{file}: cannot be read as a pack of images ({error})") from error
        if not self._reader.schema.equals(_PACK):
            found = self._reader.schema.names
            raise InputError(f"{file}: no pack of images, its columns are {found}")

    def __len__(self) -> int:
        """Number of images."""
        return self._reader.num_record_batches

    def __getitem__(self, index: int) -> np.ndarray:
        """Pixels of one image; raises `IndexError` beyond the last."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        batch = self._reader.get_batch(index)
        shape = (batch["height"][0].as_py(), batch["width"][0].as_py(), 3)
        *_, pixels = batch["pixels"].buffers()  # those of its one row; a scalar would be a copy
        return np.frombuffer(pixels, np.uint8).reshape(shape)

    def path(self, index: int) -> str:
        """File that one image was decoded from, relative to the data set's folder."""
        return self._reader.get_batch(index)["path"][0].as_py()
